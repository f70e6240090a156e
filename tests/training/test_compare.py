"""Mechanisms side by side, on a store small enough to train many times.

Slow: the scores start Java, and each mechanism is trained (about 30 s).
"""

import json
import shutil

import pytest
import torch
from test_trainer import SMALL, make_store

from labkit.training.compare import as_markdown, compare, read_mechanism, summarise

torch.set_num_threads(1)

BEST = "best=reinforce:reward=to_go,baseline=others,samples=2"
MECHANISMS = ["soft", "argmax", BEST, "gumbel", "marginal"]


def test_a_mechanism_is_read():
    assert read_mechanism("gumbel").settings == {"attention": "gumbel"}
    best = read_mechanism(BEST)
    assert best.label == best.folder == "best"
    assert best.settings == {
        "attention": "reinforce", "reward": "to_go", "baseline": "others", "samples": 2,
    }  # fmt: skip
    plain = read_mechanism("marginal:sum_share=0.7,places=49")
    assert plain.label == "marginal:sum_share=0.7,places=49"
    assert plain.folder == "marginal-sum_share-0.7-places-49"
    with pytest.raises(ValueError, match="no setting 'plcaes'"):
        read_mechanism("marginal:plcaes=3")


def test_mean_and_std():
    scores = [{"bleu4": 0.2, "split": "dev"}, {"bleu4": 0.3}, {"bleu4": 0.7, "mass": None}]
    table = summarise(scores)
    assert table == {"bleu4": {"mean": pytest.approx(0.4), "std": pytest.approx(0.0700**0.5)}}
    assert summarise([{"entropy": 1.5}]) == {"entropy": {"mean": 1.5, "std": None}}


def test_the_table_has_a_row_for_each():
    table = {
        "soft": {"bleu4": {"mean": 0.25, "std": 0.01}, "entropy": {"mean": 2.0, "std": None}},
        "argmax": {"bleu4": {"mean": 0.125, "std": 0.0}},
    }
    lines = as_markdown(table, {"soft": "beam search", "argmax": "greedy"}, 3).splitlines()
    assert lines[0] == "| mechanism | BLEU-4 | entropy |"
    assert lines[2] == "| soft | 0.250 ± 0.010 | 2.000 |"
    assert lines[3] == "| argmax | 0.125 ± 0.000 |  |"
    assert lines[5].startswith("Split dev, 3 seeds")
    assert lines[-2:] == ["- soft: beam search", "- argmax: greedy"]


def test_the_table_names_its_split():
    assert "Split test, 1 seed:" in as_markdown({"soft": {}}, {"soft": "greedy"}, 1, "test")


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """All five, two seeds each."""
    folder = tmp_path_factory.mktemp("compared")
    store = make_store(folder / "store", dev=True)
    settings = SMALL | {"epochs": 1}
    table = compare(store, MECHANISMS, folder / "out", 2, settings, probe=10, progress=False)
    return folder, settings, table


def test_the_table_is_written(compared):
    folder, _, table = compared
    assert json.loads((folder / "out" / "table.json").read_text()) == table
    assert list(table) == ["soft", "argmax", "best", "gumbel", "marginal"]
    for label, row in table.items():
        assert {"bleu4", "meteor", "cider", "entropy", "gradient_variance"} <= set(row), label
        assert all(set(value) == {"mean", "std"} for value in row.values())
        scores = [
            json.loads((folder / "out" / "runs" / f"{label}-{seed}" / "scores.json").read_text())
            for seed in (0, 1)
        ]
        assert row["meteor"]["mean"] == pytest.approx(sum(s["meteor"] for s in scores) / 2)
    text = (folder / "out" / "table.md").read_text()
    assert text.count("beam search, 5 beams") == 5
    assert (folder / "out" / "loss.png").stat().st_size > 1000
    curves = json.loads((folder / "out" / "curves.json").read_text())
    assert list(curves) == list(table)
    for label, rows in curves.items():
        kept = (folder / "out" / "runs" / f"{label}-0" / "metrics.jsonl").read_text()
        assert rows == [json.loads(line) for line in kept.splitlines()]


def test_each_run_is_probed(compared):
    out = compared[0] / "out"
    found = json.loads((out / "probes.json").read_text())
    assert list(found) == ["soft", "argmax", "best", "gumbel", "marginal"]
    for label, rows in found.items():
        tables = [out / "runs" / f"{label}-{seed}" / "probe-10" / "table.json" for seed in (0, 1)]
        runs = [json.loads(table.read_text()) for table in tables]
        for k, row in enumerate(rows):
            one, other = (run["rows"][k] for run in runs)
            assert row["question"] == one["question"] == other["question"]
            assert row["mean"] == pytest.approx((one["mean"] + other["mean"]) / 2)
            assert row["low"] == min(one["low"], other["low"]) and row["runs"] == 2
    lines = (out / "probes.md").read_text().splitlines()
    assert lines[0] == "| question | case | soft | argmax | best | gumbel | marginal |"
    assert lines[-1].startswith("8 photographs of")


def test_only_sampling_makes_the_gradient_vary(compared):
    variance = {label: row["gradient_variance"]["mean"] for label, row in compared[2].items()}
    for label in ("soft", "argmax"):
        assert variance[label] == pytest.approx(0, abs=1e-12)
    assert min(variance[label] for label in ("best", "gumbel", "marginal")) > 1e-9


def test_all_had_the_same_seeds_and_budget(compared):
    runs = [json.loads(path.read_text()) for path in compared[0].glob("out/runs/*/config.json")]
    assert len(runs) == 10
    assert sorted(run["training"]["seed"] for run in runs) == [0] * 5 + [1] * 5
    assert {run["training"]["epochs"] for run in runs} == {1}
    assert len({run["store"] for run in runs}) == 1


def test_what_is_finished_is_not_done_again(compared):
    folder, settings, table = compared
    runs = folder / "out" / "runs"
    kept = {path: path.stat().st_mtime_ns for path in runs.glob("*/*.safetensors")}
    (runs / "gumbel-1" / "scores.json").unlink()  # as if stopped here,
    picture = runs / "soft-0" / "probe-10" / "figure.png"
    picture.unlink()  # or while a run was probed
    assert compare(
        folder / "store", MECHANISMS[:4], folder / "out", 2, settings, probe=10, progress=False
    ) == {label: row for label, row in table.items() if label != "marginal"}
    assert kept == {path: path.stat().st_mtime_ns for path in runs.glob("*/*.safetensors")}
    assert picture.exists()


def test_a_run_that_has_other_weights_by_now_is_scored_again(compared, tmp_path):
    """As if it had been trained further: here, seed 0 gets the weights of seed 1."""
    folder, settings, _ = compared
    shutil.copytree(folder / "out", tmp_path / "out")
    runs = [tmp_path / "out" / "runs" / f"soft-{seed}" for seed in (0, 1)]
    names = ("scores.json", "probe-10/table.json")
    assert all((runs[0] / name).read_text() != (runs[1] / name).read_text() for name in names)
    shutil.copy(runs[1] / "model.safetensors", runs[0])
    options = (2, settings, (), 10, False)
    compare(folder / "store", ["soft"], tmp_path / "out", *options)
    for name in names:
        one, other = (json.loads((run / name).read_text()) for run in runs)
        assert one.get("rows") == other.get("rows") and one.get("cider") == other.get("cider"), name


def test_other_settings_in_the_same_folder_are_refused(compared):
    folder, settings, _ = compared
    with pytest.raises(ValueError, match="hidden_dim = 24, not 32"):
        compare(
            folder / "store",
            ["soft"],
            folder / "out",
            1,
            settings | {"hidden_dim": 32},
            progress=False,
        )
    for left_out, says in (("epochs", "epochs = 1, not"), ("hidden_dim", "hidden_dim = 24, not")):
        others = {name: value for name, value in settings.items() if name != left_out}
        with pytest.raises(ValueError, match=says):  # the recommended one is another, too
            compare(folder / "store", ["soft"], folder / "out", 1, others, progress=False)
    with pytest.raises(ValueError, match="one name"):
        compare(folder / "store", ["soft", "soft"], folder / "out", 1, progress=False)


def test_what_cannot_be_compared_is_said_before_the_first_training(tmp_path):
    alone, out = make_store(tmp_path / "alone"), tmp_path / "out"
    with pytest.raises(ValueError, match="cannot be compared on: the store has no dev split"):
        compare(alone, ["soft"], out, 1, SMALL, progress=False)
    store = make_store(tmp_path / "store", dev=True)
    with pytest.raises(ValueError, match="set samples=2"):
        compare(store, ["soft", "reinforce:baseline=others"], out, 1, SMALL, progress=False)
    with pytest.raises(FileNotFoundError):
        compare(store, ["soft"], out, 1, SMALL, [tmp_path / "no.jpg"], progress=False)
    for mechanism, settings in (("soft", SMALL | {"seed": 7}), ("soft:seed=5", SMALL)):
        with pytest.raises(ValueError, match="numbers the seeds itself: use --seeds"):
            compare(store, ["argmax", mechanism], out, 1, settings, progress=False)
    assert not out.exists()
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "table.md").write_text("mine")
    with pytest.raises(FileExistsError, match="not labkit's"):
        compare(store, ["soft"], tmp_path / "letters", 1, SMALL, progress=False)
