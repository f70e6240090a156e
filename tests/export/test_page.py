"""The page of exported models in a real Chromium: by mouse, keyboard and touch, at every width.

Most tests use the small models of drawn scenes. One takes a photograph with the large ones.
"""

import base64
import io
import json
import re
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from browsing import open_tab, serious_faults
from PIL import Image

from labkit import AttentionViewer, Captioner, make_scenes
from labkit.export import examples
from labkit.export.browser import export_to_browser
from labkit.figures.viewer import align, describe
from labkit.model.captioner import CaptionedPhoto

ROOT = Path(__file__).parents[2]
STRICT = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:"
WORDS = ["a", "man", "and", "a", "woman", "are", "in", "front", "of", "a", "red", "house"]
DROP = """([kind, name, bytes]) => {
  const transfer = new DataTransfer();
  if (name) transfer.items.add(new File([new Uint8Array(bytes)], name));
  const name_of = { drop: "dataTransfer", paste: "clipboardData" }[kind];
  const Kind = { drop: DragEvent, paste: ClipboardEvent }[kind];
  const event = new Kind(kind, { [name_of]: transfer, bubbles: true, cancelable: true });
  document.querySelector(".try-captioner").dispatchEvent(event);
}"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return export_to_browser(["scenes-soft", "scenes-hard"], tmp_path_factory.mktemp("page") / "x")


def served(folder):
    """Serve a folder under a strict policy: the server, and its address."""

    class Handler(SimpleHTTPRequestHandler):
        def end_headers(self):
            self.send_header("Content-Security-Policy", STRICT)
            super().end_headers()

        def log_message(self, *_):
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, f"http://127.0.0.1:{server.server_port}/"


@pytest.fixture(scope="module")
def site(folder):
    server, address = served(folder)
    yield address
    server.shutdown()


@pytest.fixture
def visit(browser, site):
    """Open the page in a browser of some kind; in the end nothing went wrong in any."""
    seen, contexts = [], []

    def open_page(address=site, **kind):
        contexts.append(browser.new_context(reduced_motion="reduce", **kind))
        tab, *lists = open_tab(contexts[-1], (address.rsplit("/", 1)[0],))
        seen.extend(lists)
        tab.goto(address)
        tab.locator(".try-captioner[data-ready]").wait_for()
        return tab

    yield open_page
    for context in contexts:
        context.close()
    assert not any(seen), seen


def jpeg(number=0, kind="JPEG", **options):
    """The bytes of a drawn scene as a file."""
    file = io.BytesIO()
    scene = make_scenes(number + 1, seed=31, split="test")[number].image
    Image.fromarray(scene).save(file, kind, **options)
    return file.getvalue()


def half(content):
    return content[: len(content) * 2 // 3]


def choose(tab, content, name="scene.jpg"):
    file = {"name": name, "mimeType": "", "buffer": content}
    tab.locator("input[type=file]").set_input_files(files=[file])


def status(tab):
    return tab.locator(".tell-status").inner_text()


def captions(tab):
    """What the models say, when they have said it."""
    tab.locator(".tell-result .attention-viewer[data-ready]").wait_for()
    rows = tab.locator(".tell-result [role=radiogroup]").all()
    return [" ".join(row.get_by_role("radio").all_inner_texts()) for row in rows]


def words(tab, row=0):
    rows = tab.locator(".tell-result [role=radiogroup]")
    return rows.nth(row).get_by_role("radio")


def example(tab, number=0):
    tab.locator(".tell-example").nth(number).click()
    return captions(tab)


def followed(tab):
    """The heading and the last caption of what is said from a place on."""
    there = tab.locator(".tell-from-there")
    there.locator(".attention-viewer[data-ready]").wait_for()
    row = there.locator("[role=radiogroup]").last.get_by_role("radio")
    return there.get_by_role("heading").inner_text(), row.all_inner_texts()


# Maps and sentences, as in Python


def some_caption(rows, columns, words, sharp):
    rng = np.random.default_rng(rows + columns)
    alpha = rng.dirichlet(np.full(rows * columns, sharp), len(words)).astype(np.float32)
    return CaptionedPhoto(words, 0.0, alpha.reshape(-1, rows, columns))


def as_script(name, caption):
    maps = [{"alpha": m.ravel().tolist(), "rows": m.shape[0], "columns": m.shape[1]}
            for m in caption.alpha]  # fmt: skip
    return {"name": name, "words": caption.words, "maps": maps}


@pytest.mark.parametrize(
    "grid, width, height",
    [((7, 7), 640, 427), ((8, 8), 90, 240), ((14, 14), 1000, 77), ((3, 5), 320, 320)],
)
def test_maps_and_sentences_are_those_of_the_viewer(page, grid, width, height):
    one = some_caption(*grid, WORDS[:6], 0.1)
    other = some_caption(*grid, WORDS[3:], 1.0)
    models = {"soft": one, "hard": other, "third": one}
    viewer = AttentionViewer(np.zeros((height, width, 3), np.uint8), models, "A house.")
    data, shown = page.evaluate(
        """([photo, captions]) => {
          for (const one of captions) for (const map of one.maps) map.alpha = Float32Array.from(map.alpha);
          const { light, rounded, thumbnail, viewerData, inWords } = labkit.maps;
          const size = thumbnail(photo.width, photo.height);
          const greys = captions.map(({ maps }) => maps.map((map) => [...light(rounded(map), size).grey]));
          return [viewerData(photo, captions, "A house."), { greys, text: inWords(captions, "A house.") }];
        }""",  # noqa: E501
        [
            {"url": "", "width": width, "height": height},
            [as_script(name, caption) for name, caption in models.items()],
        ],
    )
    wanted = json.loads(json.dumps(viewer._data()))
    for key in ("label", "alt", "hint", "captions"):
        assert data[key] == wanted[key]
    assert shown["text"] == viewer._in_words()
    for panel, here, greys in zip(wanted["panels"], data["panels"], shown["greys"], strict=True):
        assert {**panel, "maps": 0} == {**here, "maps": 0}
        for url, grey in zip(panel["maps"], greys, strict=True):
            picture = np.asarray(picture_of(url).convert("L"), int).ravel()
            assert np.abs(picture - grey).max() <= 1 and np.mean(picture != grey) < 0.01


def picture_of(url):
    return Image.open(io.BytesIO(base64.b64decode(url.split(",")[1])))


@pytest.fixture(scope="module")
def page(browser, folder):
    """The page's scripts, for functions that are called by themselves."""
    context = browser.new_context()
    tab = context.new_page()
    tab.goto((folder / "index.html").as_uri())
    yield tab
    context.close()


def test_sizes_and_words_on_many_tries(page):
    rng = np.random.default_rng(0)
    sizes = [tuple(map(int, size)) for size in rng.integers(1, 2000, (300, 2))]
    wanted = []
    for size in sizes:
        blank = Image.new("1", size)
        blank.thumbnail((320, 320))
        wanted.append(list(blank.size))
    assert page.evaluate("sizes => sizes.map(s => labkit.maps.thumbnail(...s))", sizes) == wanted

    pairs = [[list(rng.choice(list("abcde"), n)) for n in rng.integers(1, 12, 2)]
             for _ in range(300)]  # fmt: skip
    found = page.evaluate("pairs => pairs.map(p => labkit.maps.align(...p))", pairs)
    assert found == [align(*pair) for pair in pairs]

    maps = [rng.dirichlet(np.full(49, rng.choice([0.02, 0.1, 1]))) for _ in range(300)]
    sentences = page.evaluate(
        "maps => maps.map(alpha => labkit.maps.describe({ alpha, rows: 7, columns: 7 }))",
        [one.tolist() for one in maps],
    )
    assert sentences == [describe(one.reshape(7, 7)) for one in maps]


# From a photograph to captions


@pytest.mark.parametrize("way", ["http", "file"])
def test_an_example_by_mouse(visit, site, folder, way):
    tab = visit(site if way == "http" else (folder / "index.html").as_uri())
    said = example(tab)
    photo = picture_of(tab.locator(".tell-example img").first.get_attribute("src"))
    for name, text in zip(("soft", "hard"), said, strict=True):
        assert text == Captioner.from_pretrained(f"scenes-{name}").caption(photo).text
    assert re.fullmatch(rf"soft: {said[0]}\. hard: {said[1]}\. \(.* seconds\)", status(tab))
    words(tab).nth(1).hover()
    assert "looks" in tab.locator(".tell-result .av-says").first.inner_text()
    assert tab.locator(".tell-bar").is_hidden()


def test_a_beam_width(visit):
    tab = visit()
    example(tab, 3)
    tab.get_by_label("1, the likeliest").check()
    tab.locator(".try-captioner:not([aria-busy])").wait_for()
    photo = picture_of(tab.locator(".tell-example img").nth(3).get_attribute("src"))
    greedy = Captioner.from_pretrained("scenes-hard").caption(photo, num_beams=1)
    assert captions(tab)[-1] == greedy.text


def test_the_same_file_twice_and_then_another(visit):
    tab = visit()
    tab.evaluate("""() => {
      window.taken = 0;
      const line = document.querySelector('.tell-status');
      const look = () => { window.taken += line.textContent.startsWith('Reading'); };
      new MutationObserver(look).observe(line, { childList: true });
    }""")
    said = []
    for content in (jpeg(), jpeg(), jpeg(5)):
        choose(tab, content)
        while tab.evaluate("window.taken") <= len(said):
            tab.wait_for_timeout(20)
        said.append(captions(tab))
    assert said[0] == said[1] != said[2]


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_a_photograph_that_is_dropped_or_pasted(visit, kind):
    tab = visit()
    tab.evaluate(DROP, [kind, "scene.png", list(jpeg(kind="PNG"))])
    said = captions(tab)
    tab.evaluate(DROP, [kind, "", []])  # text, a link
    complaint = "That was not a file" if kind == "drop" else "soft: "
    assert status(tab).startswith(complaint)
    assert captions(tab) == said


@pytest.mark.parametrize(
    "name, content",
    [
        ("empty.jpg", b""),
        ("cut.jpg", jpeg()[:300]),
        ("half.jpg", half(jpeg())),
        ("half.png", half(jpeg(kind="PNG"))),
        ("half.webp", half(jpeg(kind="WEBP"))),
        ("notes.txt", b"These are my notes."),
        ("scan.tif", jpeg(kind="TIFF")),
        ("phone.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200)),
    ],
)
def test_a_file_that_is_no_photograph_gets_one_sentence(visit, name, content):
    tab = visit()
    choose(tab, content, name)
    tab.locator(".tell-trouble").wait_for()
    text = status(tab)
    assert text.startswith(name) and text.count(". ") == 0 and "\n" not in text and len(text) < 200
    assert "JPEG" in text
    assert not tab.locator(".tell-result *").count()
    assert example(tab) and not tab.locator(".tell-trouble").count()  # and all goes on


def test_a_second_photograph_ends_the_first(visit):
    tab = visit()
    tab.evaluate("""() => {
      const [first, second] = document.querySelectorAll('.tell-example');
      first.click();
      setTimeout(() => second.click(), 60);
    }""")
    tab.locator(".tell-result .attention-viewer[data-ready]").wait_for()
    photo = picture_of(tab.locator(".tell-example img").nth(1).get_attribute("src"))
    wanted = Captioner.from_pretrained("scenes-soft").caption(photo).text
    assert captions(tab)[0] == wanted
    tab.wait_for_timeout(500)
    assert captions(tab)[0] == wanted


# A second look


def test_candidates_by_mouse(visit):
    tab = visit()
    said = example(tab, 1)[0].split()
    assert not tab.locator(".tell-candidate").count()
    words(tab).nth(2).click()
    candidates = tab.locator(".tell-candidate")
    assert candidates.count() == 5
    assert tab.locator(".tell-candidate[aria-pressed=true] .tell-word").inner_text() == said[2]
    bars = [one.bounding_box()["width"] for one in tab.locator(".tell-share").all()]
    assert bars == sorted(bars, reverse=True) and bars[0] > bars[-1]
    other = candidates.and_(tab.locator("[aria-pressed=false]")).first
    word = other.locator(".tell-word").inner_text()
    other.click()
    heading, after = followed(tab)
    assert heading == f"soft, with “{word}” as word 3"
    assert after[:3] == [*said[:2], word]
    assert status(tab).startswith(f"{heading}: {' '.join(after)}.")


def test_attention_that_is_moved_by_mouse(visit):
    tab = visit()
    said = example(tab, 2)
    words(tab, len(said) - 1).nth(1).click()
    tab.locator(".tell-model").last.click()
    assert tab.locator(".tell-model[aria-pressed=true]").inner_text() == "hard"
    tab.locator(".tell-cell").nth(7 * 6 + 2).click()
    heading, after = followed(tab)
    assert heading == "hard, looking at row 7, column 3 for word 2"
    assert after[0] == said[-1].split()[0]
    assert tab.locator(".tell-cell[aria-selected=true]").count() == 1
    says = tab.locator(".tell-from-there .av-says").last.inner_text()
    assert says.startswith(f"hard, moved {after[1]}: looks") and "lower" in says  # one-hot
    text = tab.locator(".tell-from-there p").first.inner_text()
    share = r"(\d+%|not among the five likeliest)"
    assert re.search(rf"How likely is this word here\? {share} before, {share} now\.", text)
    assert ("The caption stays the same." in text) == (after == said[-1].split())


def test_all_by_keyboard(visit):
    tab = visit()
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.closest('a') !== null")  # the paper
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.type") == "file"
    tab.keyboard.press("Tab")
    tab.keyboard.press("Enter")
    said = captions(tab)[0].split()
    words(tab).first.focus()
    for key in ("ArrowRight", "ArrowRight"):
        tab.keyboard.press(key)
    assert tab.locator(".tell-step mark").inner_text() == said[2]
    cell = tab.locator(".tell-cell[tabindex='0']")
    label = r"row (\d), column \d: \d+% of the weight"
    row = int(re.fullmatch(label, cell.get_attribute("aria-label"))[1])
    cell.focus()
    for key in ("Home", "ArrowRight", "ArrowUp" if row == 7 else "ArrowDown", "Enter"):
        tab.keyboard.press(key)
    heading, after = followed(tab)
    row += -1 if row == 7 else 1
    assert heading == f"soft, looking at row {row}, column 2 for word 3"
    assert after[:2] == said[:2]
    focused = tab.evaluate("document.activeElement.getAttribute('aria-label')")
    assert focused.startswith(f"row {row}, column 2:")


def test_the_last_example_is_a_failure_and_the_page_says_so(visit):
    tab = visit()
    assert tab.locator(".tell-example").count() == 6
    example(tab, 5)
    assert tab.locator(".tell-note").inner_text().startswith("A failure to expect")
    tab.get_by_text("What it cannot do").click()
    limits = tab.locator(".tell-limits")
    assert limits.get_by_text("It never says that it does not know").is_visible()
    assert tab.get_by_text("Nothing leaves this machine").is_visible()


# On every device


@pytest.mark.parametrize("theme, width", [("light", 360), ("dark", 360), ("dark", 1000)])
def test_at_every_width_in_both_themes(visit, theme, width):
    touch = width == 360
    tab = visit(color_scheme=theme, viewport={"width": width, "height": 740}, has_touch=touch)
    press = (lambda place: place.tap()) if touch else (lambda place: place.click())
    press(tab.locator(".tell-example").first)
    captions(tab)
    press(words(tab).nth(1))
    press(tab.locator(".tell-cell").nth(9))
    followed(tab)
    tab.get_by_text("What it cannot do").click()
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    cell = tab.locator(".tell-cell").first.bounding_box()
    assert cell["width"] >= 24 and cell["height"] >= 24
    assert not serious_faults(tab)


def test_on_paper_a_strip_takes_the_viewers_place(visit):
    tab = visit()
    said = example(tab)[0]
    strip = tab.locator(".tell-result .attention-viewer > img")
    assert not strip.is_visible() and f"Caption by soft: {said}." in strip.get_attribute("alt")
    tab.emulate_media(media="print")
    assert strip.is_visible() and not tab.locator(".tell-drop").is_visible()


# Photographs


def test_a_cup_of_coffee_and_the_page_stays_alive(browser, tmp_path):
    """The large models, from a file; 58 MB of weights come with the photograph and not before."""
    folder = export_to_browser(["flickr8k-soft", "flickr8k-hard"], tmp_path / "page")
    context = browser.new_context()
    tab, complaints, refused = open_tab(context, (folder.as_uri(),))
    scripts = []
    tab.on("request", lambda request: scripts.append(request.url))
    tab.goto((folder / "index.html").as_uri())
    tab.locator(".tell-example").last.wait_for()
    assert not [one for one in scripts if "weights/" in one]
    assert sum(path.stat().st_size for path in folder.glob("*")) < 700_000
    tab.evaluate("""() => {
      let last = performance.now();
      window.longest = 0;
      const look = () => {
        const now = performance.now();
        if (document.querySelector(".tell-status").textContent.startsWith("Looking"))
          window.longest = Math.max(window.longest, now - last);
        last = now;
        setTimeout(look);
      };
      look();
    }""")
    said = example(tab, 5)
    assert len(said) == 2 and all(" dog " in f" {text} " for text in said)
    assert "a dog here" in tab.locator(".tell-note").inner_text()
    assert 0 < tab.evaluate("window.longest") < 2000  # ms; a busy machine is no fault of the page
    context.close()
    assert not complaints and not refused


# What the folder holds


def test_examples_are_what_may_be_passed_on():
    photographs = [Captioner.from_pretrained("flickr8k-soft")]
    text = examples.examples_script(photographs)
    assert all(credit in text for *_, credit in examples.PHOTOGRAPHS)
    assert len(text) < 500_000 and "2,920 words" in text
    scenes = examples.examples_script([Captioner.from_pretrained("scenes-soft")])
    assert scenes.count("A drawn scene") == 5 and "a photograph means nothing" in scenes


def test_without_scikit_image_drawings_take_their_place(monkeypatch):
    monkeypatch.setattr(examples, "find_spec", lambda name: None)
    text = examples.examples_script([Captioner.from_pretrained("flickr8k-soft")])
    assert text.count('"src"') == 6 and text.count("A drawn scene") == 5


def test_the_book_loads_the_scripts_of_the_page():
    page = (ROOT / "labkit/export/page/index.html").read_text(encoding="utf-8")
    loader = (ROOT / "book/_static/captioner.js").read_text(encoding="utf-8")
    for kind, pattern in {"SCRIPTS": r'script src="([^"]+)', "STYLES": r'stylesheet" href="([^"]+)'}.items():  # noqa: E501
        listed = re.search(rf"const {kind} = \[(.*?)\]", loader, re.DOTALL)[1]
        assert re.findall(r'"([^"]+)"', listed) == re.findall(pattern, page)
    for script in ROOT.glob("labkit/export/page/*.js"):
        text = script.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 300, script.name
        assert f'"{script.name}"' in loader, script.name
