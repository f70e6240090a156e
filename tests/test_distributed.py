"""Several processes that score one model, started by torchrun."""

import ast
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import torchrun
from PIL import Image
from small_stores import DIM, make_store

import labkit
from labkit import Decoder, FeatureStore, GenerationConfig, ModelConfig, Vocabulary
from labkit.distributed import ProcessGroup
from labkit.evaluation.evaluate import evaluate
from labkit.evaluation.metrics import Scores

LABKIT = Path(labkit.__file__).parent
evaluation = sys.modules[evaluate.__module__]
SCRIPT = """
import dataclasses, json, os, pickle, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import torch
from labkit.distributed import init_distributed
from test_distributed import a_model, evaluation, stub
out, group = Path(sys.argv[3]), init_distributed()

def forbidden(*args, **kwargs):
    raise AssertionError("pickled")

pickle.dump = pickle.dumps = pickle.Pickler = forbidden
torch.distributed.distributed_c10d._pickler = forbidden
evaluation.score = stub if group.is_main else forbidden
decoder, words, store = a_model(sys.argv[2])
config = evaluation.GenerationConfig(num_beams=2)
found = evaluation.evaluate(decoder, words, store, config, group, progress=False)

rows = torch.arange(group.rank * 2.0).reshape(-1, 2)  # 0, 1, 2 rows
assert group.gather(rows).tolist() == [[0, 1], [0, 1], [2, 3]], group.gather(rows)
assert group.gather(rows.bool()).dtype == torch.bool
assert group.broadcast({"rank": group.rank, "é": None}) == {"rank": 0, "é": None}
assert group.all_reduce_sum(group.rank, 1) == [3, 3]
group.barrier()
try:
    group.once(lambda: 1 / 0)
except (ValueError, ZeroDivisionError) as error:
    problem = f"{type(error).__name__}: {error}"
facts = {"found": dataclasses.asdict(found), "mode": decoder.training, "problem": problem}
(out / f"{group.rank}.json").write_text(json.dumps(facts))
"""


def stub(references, captions):
    """Stands for METEOR and the others, which take their time."""
    return Scores(*[len(references), *[sum(map(len, captions.values())) / 7] * 6])


def a_model(path):
    torch.manual_seed(0)
    store = FeatureStore(path, "train")
    words = Vocabulary.build([text for some in store.captions for text in some], 1)
    sizes = dict.fromkeys(("feature_dim", "embed_dim", "hidden_dim", "attention_dim"), 8)
    return Decoder(ModelConfig(vocab_size=len(words), encoder_dim=DIM, **sizes)), words, store


@pytest.mark.parametrize("count", [2, 5])  # one rank has no image, or they have different numbers
def test_rank_0_scores_and_all_get_the_scores(tmp_path, monkeypatch, count):
    make_store(tmp_path / "store", count, lambda image: 2 * (image != 1))
    (tmp_path / "script.py").write_text(SCRIPT)
    tests = Path(__file__).parent
    done = torchrun(
        3, tmp_path / "script.py", tests, tmp_path / "store", tmp_path,
        first="labkit.evaluation.evaluate",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    ranks = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(3)]
    monkeypatch.setattr(evaluation, "score", stub)
    alone = evaluate(*a_model(tmp_path / "store"), GenerationConfig(num_beams=2), progress=False)
    for facts in ranks:
        assert facts["found"]["captions"] == alone.captions
        assert facts["found"]["scores"] == pytest.approx(vars(alone.scores))
        assert facts["found"]["maps"] == pytest.approx(vars(alone.maps))
        assert facts["found"]["images"] == alone.images == count - 1
        assert facts["mode"] is True
    assert ranks[0]["problem"] == "ZeroDivisionError: division by zero"
    assert ranks[1]["problem"].startswith("ValueError: the process of rank 0 failed: ZeroDivision")


def test_one_process_is_a_group_too():
    group, rows = ProcessGroup(), torch.ones(2, 3)
    assert group.is_main and group.world_size == 1
    assert group.all_reduce_sum(1, 2.5) == [1, 2.5]
    group.barrier()
    assert group.gather(rows) is rows or (group.gather(rows) == rows).all()
    assert group.broadcast((1, 2)) == (1, 2)
    with pytest.raises(ZeroDivisionError):
        group.once(lambda: 1 / 0)


@pytest.mark.parametrize("training", [True, False])
def test_scoring_leaves_each_part_of_the_decoder_in_its_mode(tmp_path, monkeypatch, training):
    make_store(tmp_path, 3)
    decoder, words, store = a_model(tmp_path)
    decoder.train(training)
    decoder.dropout.train(not training)
    before = [module.training for module in decoder.modules()]
    seen = []
    monkeypatch.setattr(
        evaluation, "score", lambda *args: seen.append(decoder.training) or stub(*args)
    )
    evaluate(decoder, words, store, progress=False)
    assert seen == [False]
    assert [module.training for module in decoder.modules()] == before

    def fails(*_):
        raise ChildProcessError("METEOR's Java program failed twice")

    monkeypatch.setattr(evaluation, "score", fails)
    with pytest.raises(ChildProcessError):
        evaluate(decoder, words, store, progress=False)
    assert [module.training for module in decoder.modules()] == before


PICKLING = {
    "pickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "all_gather_object",
    "gather_object", "broadcast_object_list", "scatter_object_list", "send_object_list",
    "recv_object_list", "Queue", "SimpleQueue", "Manager",
}  # fmt: skip


@pytest.mark.parametrize("path", sorted(LABKIT.rglob("*.py")), ids=lambda path: path.stem)
def test_nothing_is_ever_pickled(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = {alias.name.split(".")[0] for alias in getattr(node, "names", [])
                 if isinstance(alias, ast.alias)}  # fmt: skip
        names |= {getattr(node, "attr", None), getattr(node, "module", None)}
        names |= {node.id} if isinstance(node, ast.Name) else set()
        assert not names & PICKLING, (path.name, node.lineno)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            call = ast.unparse(node.func)
            asked = {word.arg: ast.unparse(word.value) for word in node.keywords}
            if call == "torch.load":
                assert asked.get("weights_only") == "True", node.lineno
            if call in ("np.load", "numpy.load"):
                assert asked.get("allow_pickle") == "False", node.lineno
            assert call != "torch.save", node.lineno


SHARED = """
import sys
sys.path.insert(0, sys.argv[1])
import torch
from labkit import console
from labkit.cli.main import app
from test_distributed import evaluation, stub
torch.set_num_threads(1)
evaluation.score, evaluation.start_meteor = stub, lambda texts: None
photos, store, scores, captions = sys.argv[2:]
for words in (
    ["prepare", "table", photos, "--out", store, "--images-per-shard", "4"],
    ["prepare", "scenes", "--out", f"{store}-scenes", "--count", "10"],
    ["evaluate", "scenes-soft", "--data", f"{store}-scenes", "--json", scores,
     "--captions", captions, "--num-beams", "1"],
):
    sys.argv = ["labkit", *words]
    assert console.run(app) == 0
"""


def test_preparing_and_evaluating_are_shared_and_written_once(tmp_path):
    """Real processes under torchrun, and one alone. A photograph cannot be read."""
    photos = tmp_path / "photos"
    photos.mkdir()
    rng = np.random.default_rng(0)
    rows = ["file,caption"]
    for number in range(21):
        pixels = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(photos / f"{number:02}.png")
        rows.append(f"{number:02}.png,a dog number {number}")
    (photos / "05.png").write_bytes(b"no photograph")
    (photos / "table.csv").write_text("\n".join(rows))
    (tmp_path / "script.py").write_text(SHARED)
    for count in (1, 2):
        out = tmp_path / str(count)
        out.mkdir()
        words = photos, out / "store", out / "scores.json", out / "captions.json"
        done = torchrun(count, tmp_path / "script.py", Path(__file__).parent, *words,
                        first="labkit.cli.main, labkit.evaluation.evaluate")  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("20 all images") == 1, done.stdout
        assert done.stderr.count("unreadable image") == 1, done.stderr
    one, two = tmp_path / "1", tmp_path / "2"
    names = sorted(path.name for path in (one / "store").iterdir())
    assert len(names) > 10 and names == sorted(path.name for path in (two / "store").iterdir())
    for name in [*(f"store/{name}" for name in names), "captions.json"]:
        assert (one / name).read_bytes() == (two / name).read_bytes(), name
    ours, theirs = (json.loads((out / "scores.json").read_text()) for out in (one, two))
    assert theirs == pytest.approx(ours, abs=1e-5)
