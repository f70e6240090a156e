"""The whole path on drawn scenes, small enough to watch: `labkit demo`.

Scenes are drawn, turned into features, written as a store of several shards, a captioner with
soft attention is trained on them, and it is measured on scenes that it has never seen: does it
look where it speaks, and is what it tells true? The same is measured before training.
"""

import html
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from labkit.data.scenes import is_true, make_scenes, things_of
from labkit.distributed import ProcessGroup
from labkit.evaluation.evaluate import evaluate
from labkit.evaluation.metrics import start_meteor
from labkit.features.prepare import SCENE_ENCODER, prepare_scenes
from labkit.figures.strips import attention_strip
from labkit.files import atomic_write, only_one, own_folder, write_json
from labkit.model.captioner import Captioner, load
from labkit.model.decoder import Decoder
from labkit.store.shards import FeatureStore
from labkit.training.config import SCENES, TrainingConfig
from labkit.training.trainer import Trainer

MARK = ".labkit-demo"  # a file that says whose folder it is
SHOWN = 6  # scenes on the page
SCORES = {
    "bleu4": "BLEU-4",
    "meteor": "METEOR",
    "cider": "CIDEr",
    "pointing": "points at the right object",
    "objects_right": "objects named right",
    "captions_true": "captions wholly true",
}


def demo(
    out: str | Path, count: int = 6000, seed: int = 0, config: TrainingConfig = SCENES,
    say: Callable[[str], None] = print,
) -> dict:  # fmt: skip
    """Run it all and write ``out``: the store, the run, ``scores.json`` and ``index.html``.

    Args:
        out: a folder, absent or empty; a demo that was interrupted there is resumed.
        count: scenes to train on.
        seed: of scenes and training.
        config: how to train.
        say: told each line of progress.

    Returns:
        What ``scores.json`` holds: the scores on held-out scenes, and under "untrained" those of
        the same model before training.

    Raises:
        FileExistsError: ``out`` holds other files, or another process writes there.
    """
    out, threads = own_folder(out, MARK), torch.get_num_threads()
    with only_one(out), Team().seeded(seed):
        torch.set_num_threads(1)  # products as small as these gain nothing from a second thread
        try:
            return _demo(out, count, seed, config, say)
        finally:
            torch.set_num_threads(threads)


def _demo(
    out: Path, count: int, seed: int, config: TrainingConfig, say: Callable[[str], None]
) -> dict:  # fmt: skip
    start_meteor()  # Java reads its tables while the scenes are drawn
    say(f"1/4 drawing {count} scenes and looking at them with {SCENE_ENCODER.name}")
    store = prepare_scenes(out / "store", count, seed)
    test = FeatureStore(store, "test")
    training = Trainer(store, out / "run", replace(config, seed=seed), resume=True)
    say("2/4 telling held-out scenes before training")
    with ProcessGroup().seeded(seed):
        untrained = Decoder(training.decoder.config)
    before = evaluate(untrained, training.vocabulary, test, progress=False)
    say(f"3/4 training soft attention for {config.epochs} epochs; a checkpoint is kept in {out}")
    training.run()
    say(training.ending)
    say("4/4 telling held-out scenes after training")
    captioner = load(out / "run")
    after = evaluate(captioner.decoder, captioner.vocabulary, test, progress=False)
    losses = [row["loss"] for row in training.state.rows if "loss" in row]
    scores = {**after.as_dict(), "loss": losses[-1], "untrained": before.as_dict()}
    write_json(out / "scores.json", scores)
    write_page(out, captioner, scores, seed)
    say(table(scores))
    say(f"open {out / 'index.html'} to see what it tells, and where it looks")
    return scores


def table(scores: dict) -> str:
    """The scores before and after training, as lines of text."""
    lines = [f"{'on held-out scenes':28} {'untrained':>10} {'trained':>10}"]
    for name, title in SCORES.items():
        lines.append(f"{title:28} {scores['untrained'][name]:10.3f} {scores[name]:10.3f}")
    return "\n".join([*lines, f"{'loss a word, in training':28} {'':10} {scores['loss']:10.3f}"])


PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>What the captioner tells of drawn scenes</title>
<style>body {{ font: 1rem/1.5 sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }}
img {{ max-width: 100% }} td, th {{ text-align: right; padding: 0.1rem 1rem }}
th:first-child {{ text-align: left }}</style>
<h1>What the captioner tells of drawn scenes</h1>
<p>Soft attention, trained on {count} drawn scenes, tells scenes that it has never seen.
Told by {decoding}; {images} held-out scenes.</p>
<table><tr><th>score</th><th>untrained</th><th>trained</th></tr>
{rows}</table>
<h2>Where it looks</h2>
<p>Each strip shows the scene, then, for each word, where the model looked before it said it.</p>
{figures}
<h2>How it learned</h2>
<img src="run/loss.png" alt="The loss a word falls over the steps of training.">
</html>
"""


def write_page(out: Path, captioner: Captioner, scores: dict, seed: int) -> None:
    """Write ``index.html`` with the scores and some scenes, the wrong captions among them."""
    figures = []
    for k, scene in enumerate(make_scenes(SHOWN, seed, "test")):
        told = captioner.tell(scene.image)
        figure = attention_strip(scene.image, told.words, told.alpha)
        with atomic_write(out / f"scene-{k}.png") as part:
            figure.savefig(part)
        verdict = "true" if is_true(told.text, things_of(scene.facts)) else "not true"
        text = html.escape(told.text)
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
