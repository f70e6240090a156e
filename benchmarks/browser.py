"""The captioner in a page against labkit: whether captions are equal, and how long they take.

    python benchmarks/browser.py --photos FOLDER           # in Chromium; the first 40 photographs
    python benchmarks/browser.py --photos FOLDER --browser firefox
    python benchmarks/browser.py --json browser.json       # scikit-image's photographs

Both Flickr8k models caption each photograph greedily and with five beams, in labkit in float32 and
in the page, which is opened from the disk. Pixels, words, score and attention are compared. The
times are those of the browser's clock, for one photograph and for both models together with five
beams; and from the first photograph to both captions in a page just opened, which loads the
weights. Chromium does it again with its processor throttled to a quarter.
"""

import argparse
import base64
import json
import shutil
import statistics
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch

from labkit import Captioner
from labkit.data.photos import read_photo, to_input
from labkit.export import export_to_browser

MODELS, WIDTHS = ("flickr8k-soft", "flickr8k-hard"), (5, 1)
SCRIPTS = ("models", "weights", "photo", "products", "encoder", "decoder", "model", "mixture",
           "captions")  # fmt: skip
CAPTION = """
  const [text, size, names, widths] = given, times = {}, found = [], begun = performance.now();
  let last = begun;
  const clock = (name) => { times[name] = performance.now() - last; last = performance.now(); };
  const blob = new Blob([labkit.fromBase64(text)]);
  clock("text");
  const pixels = labkit.toInput(await labkit.readPhoto(blob), size);
  clock("pixels");
  const encoder = await labkit.loadEncoder();
  const models = [];
  for (const name of names) models.push(await labkit.loadModel(name));
  clock("weights");
  const {a} = await labkit.encode(encoder, pixels);
  clock("encoder");
  for (const model of models) for (const numBeams of widths) {
    const {words, score, alpha} = await labkit.generate(model, a.slice(), {numBeams});
    clock(`${model.name} ${numBeams}`);
    found.push({words, score, alpha: alpha.map((row) => Array.from(row))});
  }
  times.all = performance.now() - begun;
  let letters = "";
  for (let k = 0; k < pixels.length; k += 9999)
    letters += String.fromCharCode(...pixels.subarray(k, k + 9999));
  return {pixels: btoa(letters), found, times};
"""


class Chromium:
    """Debian's Chromium, or Chrome, driven by playwright."""

    def __init__(self) -> None:
        from playwright.sync_api import sync_playwright

        names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
        path = next(filter(None, map(shutil.which, names)))
        self.playwright = sync_playwright().start()
        self.browser = self.playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu"]
        )
        self.version = f"Chromium {self.browser.version}"

    def open(self, address: str, slower: float = 1) -> None:
        """Open a page, on a processor that is throttled so many times."""
        self.tab = self.browser.new_page()
        self.tab.set_default_timeout(600_000)
        if slower > 1:
            session = self.tab.context.new_cdp_session(self.tab)
            session.send("Emulation.setCPUThrottlingRate", {"rate": slower})
        self.tab.goto(address)

    def caption(self, *given):
        """Caption a photograph; see CAPTION."""
        return self.tab.evaluate(f"async (given) => {{ {CAPTION} }}", list(given))

    def close(self) -> None:
        """End the browser."""
        self.browser.close()
        self.playwright.stop()


class Firefox:
    """Firefox without a window, driven as in the tests (``tests/firefox.py``)."""

    def __init__(self) -> None:
        sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
        from firefox import firefox

        self.running = firefox(patience=600)
        self.tab = self.running.__enter__()
        self.version = "Firefox " + self.tab.evaluate("navigator.userAgent").split("Firefox/")[1]

    def open(self, address: str, slower: float = 1) -> None:
        """Open a page; Firefox cannot be throttled."""
        self.tab.open("about:blank")
        self.tab.open(address)

    def caption(self, *given):
        """Caption a photograph; see CAPTION."""
        return self.tab.evaluate(f"async (given) => {{ {CAPTION} }}", list(given))

    def close(self) -> None:
        """End the browser."""
        self.running.__exit__(None, None, None)


def compare(captioners: list[Captioner], path: Path, there: dict) -> dict[str, bool | float]:
    """Compare what the page found with what labkit finds."""
    encoder = captioners[0].encoder
    pixels = to_input(read_photo(path), encoder.config.size)
    facts = {"pixels": base64.b64decode(there["pixels"]) == pixels.tobytes()}
    a = encoder(torch.from_numpy(pixels)[None])
    found = iter(there["found"])
    for captioner in captioners:
        for width in WIDTHS:
            here, name = captioner.generate(a, num_beams=width)[0], f"{captioner.name} {width}"
            one = next(found)
            facts[f"{name} words"] = one["words"] == here.words
            facts[f"{name} score"] = abs(one["score"] - here.score)
            if facts[f"{name} words"]:
                away = np.reshape(one["alpha"], here.alpha.shape) - here.alpha
                facts[f"{name} alpha"] = float(np.abs(away).max(initial=0))
    return facts


def photos_of(folder: Path | None, count: int) -> list[Path]:
    """The first photographs of a folder, or scikit-image's."""
    if folder is None:
        names = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")
        return [Path(str(files("skimage") / "data" / name)) for name in names]
    return sorted(folder.glob("*.jpg"))[:count]


def first_use(browser: Chromium | Firefox, address: str, photo: Path, size: int) -> dict:
    """Milliseconds in pages just opened, at full speed and, in Chromium, at a quarter of it."""
    text, times = base64.b64encode(photo.read_bytes()).decode(), {}
    for slower in (1, 4) if isinstance(browser, Chromium) else (1,):
        browser.open(address, slower)
        times[f"first use, {slower}x"] = browser.caption(text, size, MODELS, [5])["times"]["all"]
        again = [browser.caption(text, size, MODELS, [5])["times"]["all"] for _ in range(3)]
        times[f"fourth photograph, {slower}x"] = again[-1]
    return times


def show(facts: list[dict], times: list[dict], first: dict) -> dict:
    """Print the figures, and return them."""
    figures = {}
    for name in facts[0]:
        values = [one[name] for one in facts if name in one]
        if isinstance(values[0], bool):
            figures[name] = f"{sum(values)} of {len(values)} equal"
        else:
            figures[name] = f"differs by {max(values):.1e} at most"
    for one in times:
        one["both models, 5 beams"] = sum(
            one[name] for name in ("pixels", "encoder", *(f"{model} 5" for model in MODELS))
        )
    for name in times[0]:
        values = [one[name] / 1000 for one in times[1:] or times]  # the first loads the weights
        middle = statistics.median(values)
        figures[f"time, {name}"] = f"{middle:.2f} s in the middle, {min(values):.2f} s at least"
    figures |= {name: f"{value / 1000:.2f} s" for name, value in first.items()}
    for name, value in figures.items():
        print(f"{name:30} {value}")
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, help="a folder of JPEG files")
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--browser", choices=("chromium", "firefox"), default="chromium")
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    captioners = [Captioner.from_pretrained(name) for name in MODELS]
    size = captioners[0].encoder.config.size
    with tempfile.TemporaryDirectory() as folder:
        page = export_to_browser(MODELS, Path(folder) / "page")
        scripts = "".join(f'<script src="{name}.js"></script>' for name in SCRIPTS)
        (page / "engine.html").write_text(f"<!DOCTYPE html><title>engine</title>{scripts}")
        address = (page / "engine.html").as_uri()
        browser = {"chromium": Chromium, "firefox": Firefox}[arguments.browser]()
        try:
            print(browser.version)
            browser.open(address)
            facts, times = [], []
            photos = photos_of(arguments.photos, arguments.count)
            for photo in photos:
                text = base64.b64encode(photo.read_bytes()).decode()
                there = browser.caption(text, size, MODELS, WIDTHS)
                facts.append(compare(captioners, photo, there))
                times.append(there["times"])
            figures = show(facts, times, first_use(browser, address, photos[0], size))
        finally:
            browser.close()
    if arguments.json:
        arguments.json.write_text(json.dumps({"browser": browser.version} | figures, indent=1))


if __name__ == "__main__":
    main()
