"""The whole path on synthetic scenes, small enough to watch: `labkit demo`.

Scenes are drawn, encoded and written as a store of several shards. A captioner with soft attention
is trained on them and evaluated on held-out scenes: does it look at what it names, and are its
captions true? The same is measured before training.
"""

import html
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from labkit.data.scenes import is_true, make_scenes, things_of
from labkit.distributed import ProcessGroup
from labkit.evaluation.evaluate import evaluate
from labkit.features.prepare import SCENE_ENCODER, prepare_scenes
from labkit.figures.strips import attention_strip
from labkit.files import atomic_write, only_one, own_folder, write_json
from labkit.model.captioner import Captioner
from labkit.model.decoder import Decoder
from labkit.store.shards import FeatureStore
from labkit.training.config import SCENES, Settings, resolve
from labkit.training.trainer import Trainer

MARK = ".labkit-demo"  # a file that marks a demo's folder
SHOWN = 6  # scenes on the page
SCORES = {
    "bleu4": "BLEU-4",
    "meteor": "METEOR",
    "cider": "CIDEr",
    "pointing": "points at the right object",
    "objects_right": "objects named correctly",
    "captions_true": "captions entirely true",
}


def demo(
    out: str | Path, count: int = 6000, seed: int = 0, overrides: Mapping[str, Any] | None = None,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:  # fmt: skip
    """Run the demo and write ``out``: the store, the run, ``scores.json`` and ``index.html``.

    Args:
        out: A folder, absent or empty; an interrupted demo there is resumed.
        count: The number of training scenes.
        seed: The seed of the scenes and the training.
        overrides: Settings other than the recommended ones, see `labkit.training.run.train`.
        say: Receives each line of progress.

    Returns:
        The content of ``scores.json``: the scores on held-out scenes, and under "untrained" those
        of the same model before training.

    Raises:
        FileExistsError: ``out`` holds other files, or another process writes there.
    """
    out, threads = own_folder(out, MARK), torch.get_num_threads()
    with only_one(out), ProcessGroup().seeded(seed):
        torch.set_num_threads(1)  # products as small as these gain nothing from a second thread
        try:
            return _demo(out, count, resolve(SCENES, {**(overrides or {}), "seed": seed}), say)
        finally:
            torch.set_num_threads(threads)


def _demo(
    out: Path, count: int, settings: Settings, say: Callable[[str], None]
) -> dict[str, Any]:
    seed, epochs = settings.training.seed, settings.training.epochs
    say(f"1/4 drawing {count} scenes and encoding them with {SCENE_ENCODER.name}")
    store = prepare_scenes(out / "store", count, seed)
    test = FeatureStore(store, "test")
    trainer = Trainer(store, out / "run", settings, resume=True)
    say("2/4 captioning held-out scenes before training")
    with ProcessGroup().seeded(seed):
        untrained = Decoder(trainer.decoder.config)
    before = evaluate(untrained, trainer.vocabulary, test, settings.generation, progress=False)
    say(f"3/4 training soft attention for {epochs} epochs; checkpoints are kept in {out}")
    trainer.run()
    say(trainer.schedule.ending(trainer.state, trainer.judge.describe(trainer.state.best)))
    say("4/4 captioning held-out scenes after training")
    captioner = Captioner.from_pretrained(out / "run")
    decoder, vocabulary = captioner.decoder, captioner.vocabulary
    after = evaluate(decoder, vocabulary, test, settings.generation, progress=False)
    losses = [row["loss"] for row in trainer.state.rows if "loss" in row]
    scores = {**after.as_dict(), "loss": losses[-1], "untrained": before.as_dict()}
    write_json(out / "scores.json", scores)
    write_page(out, captioner, scores, seed)
    say(table(scores))
    say(f"open {out / 'index.html'} to see its captions and where it looks")
    return scores


def table(scores: dict[str, Any]) -> str:
    """Format the scores before and after training, as lines of text."""
    lines = [f"{'on held-out scenes':28} {'untrained':>10} {'trained':>10}"]
    for name, title in SCORES.items():
        lines.append(f"{title:28} {scores['untrained'][name]:10.3f} {scores[name]:10.3f}")
    return "\n".join([*lines, f"{'training loss per word':28} {'':10} {scores['loss']:10.3f}"])


PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Captions of synthetic scenes</title>
<style>body {{ font: 1rem/1.5 sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }}
img {{ max-width: 100% }} td, th {{ text-align: right; padding: 0.1rem 1rem }}
th:first-child {{ text-align: left }}</style>
<h1>Captions of synthetic scenes</h1>
<p>Soft attention, trained on {count} synthetic scenes, captions {images} scenes that it has never
seen. Decoding: {decoding}.</p>
<table><tr><th>score</th><th>untrained</th><th>trained</th></tr>
{rows}</table>
<h2>Where it looks</h2>
<p>Each strip shows the scene, then, for each word, where the model looked when generating it.</p>
{figures}
<h2>How it learned</h2>
<img src="run/loss.png" alt="The loss per word falls over the steps of training.">
</html>
"""


def write_page(out: Path, captioner: Captioner, scores: dict[str, Any], seed: int) -> None:
    """Write ``index.html`` with the scores and some scenes, wrong captions included."""
    figures = []
    for k, scene in enumerate(make_scenes(SHOWN, seed, "test")):
        caption = captioner.caption(scene.image)
        figure = attention_strip(scene.image, caption.words, caption.alpha)
        with atomic_write(out / f"scene-{k}.png") as part:
            figure.savefig(part)
        verdict = "true" if is_true(caption.text, things_of(scene.facts)) else "not true"
        text = html.escape(caption.text)
        figures.append(
            f'<figure><img src="scene-{k}.png" alt="A scene, and where the model looked at each '
            f'word of: {text}."><figcaption>{text} ({verdict})</figcaption></figure>'
        )
    rows = [
        f"<tr><th>{title}</th><td>{scores['untrained'][name]:.3f}</td>"
        f"<td>{scores[name]:.3f}</td></tr>"
        for name, title in SCORES.items()
    ]
    source = FeatureStore(out / "store", "test").source
    page = PAGE.format(
        count=source["count"], decoding=scores["decoding"], images=scores["images"],
        rows="\n".join(rows), figures="\n".join(figures),
    )  # fmt: skip
    with atomic_write(out / "index.html") as part:
        part.write_text(page, encoding="utf-8")
