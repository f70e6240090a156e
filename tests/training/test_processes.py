"""Several processes train as one, whatever is sampled; and how they end when they are asked to."""

import json
import os
import signal
from collections import Counter

import pytest
import torch
from commands import TRAINING, torchrun
from safetensors.torch import load_file
from test_trainer import SMALL, make_store, rows_of

from labkit.model import checkpoint
from labkit.model.draws import Draws, dropout
from labkit.training.config import PHOTOS, resolve
from labkit.training.run import train
from labkit.training.trainer import Trainer

torch.set_num_threads(1)

KINDS = [
    {"attention": "soft", "captions": "one", "context_dropout": 0.2},
    {"attention": "argmax", "captions": "all"},
    {"attention": "reinforce"},
    {"attention": "reinforce", "baseline": "others", "samples": 3},
    {"attention": "reinforce", "baseline": "learned", "samples": 2, "reward": "to_go"},
    {"attention": "reinforce", "one_coin": True},
    {"attention": "gumbel", "context_dropout": 0.2},
    {"attention": "marginal", "places": 2},
    {"caption_reward": "cider", "samples": 3, "attention": "reinforce", "batch_size": 5},
]
REWARDED = [  # with parameters that no sampled caption depends on
    {"attention": "argmax"}, {"attention": "reinforce", "baseline": "learned"},
]  # fmt: skip
SCRIPT = """
import json, sys
import torch
from labkit.distributed import init_distributed
from labkit.training.run import train
torch.set_num_threads(1)
group, store, out, kinds = init_distributed(), *sys.argv[1:3], json.loads(sys.argv[3])
for number, settings in enumerate(kinds):
    train(store, f"{out}/{number}", settings, group=group, progress=False)
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Captions of two lengths; 37 samples of "pairs", so that the last step is short."""
    return make_store(tmp_path_factory.mktemp("data") / "store", images=25)


def test_every_mechanism_samples_the_same_in_two_processes_as_in_one(store, tmp_path):
    """Real processes under torchrun, with dropout. The sums' order alone differs.

    So losses and weights agree to some 1e-6; a region sampled otherwise would change them by 1e-3.
    """
    mine = tmp_path / "mine.py"
    mine.write_text("def f(caption, *_):\n    return len({*caption.split()}) - len(caption) / 9\n")
    rewarded = {"caption_reward": f"{mine}:f", "samples": 2, "batch_size": 5}
    kinds = KINDS + [rewarded | kind for kind in REWARDED]
    kinds = [SMALL | {"epochs": 1, "log_every": 1} | kind for kind in kinds]
    script = tmp_path / "run.py"
    script.write_text(SCRIPT)
    done = torchrun(2, script, store, tmp_path / "two", json.dumps(kinds), first=TRAINING)
    assert done.returncode == 0, done.stderr
    for number, settings in enumerate(kinds):
        train(store, tmp_path / "one" / str(number), settings, progress=False)
        runs = [tmp_path / name / str(number) for name in ("one", "two")]
        assert_alike(*runs)


def assert_alike(one, other):
    """Two runs have the same curve and weights, up to the order in which floats are added."""
    ours, theirs = rows_of(one), rows_of(other)
    assert len(ours) == len(theirs) > 3
    for mine, yours in zip(ours, theirs, strict=True):
        assert yours == pytest.approx(mine, abs=1.1e-4)  # they have four digits
    ours, theirs = (load_file(run / "checkpoint.safetensors") for run in (one, other))
    for name in (name for name in ours if name.startswith("model.")):
        # Adam divides a gradient by its own size: one that is a rounding error, as that of a word
        # which no sampled caption has, makes steps like any other, in a direction of chance
        atol = 1e-3 if name in ("model.bias", "model.embedding.weight") else 1e-4
        torch.testing.assert_close(theirs[name], ours[name], atol=atol, rtol=0)


@pytest.mark.parametrize("of", ["captions", "words", "step"])
def test_own_rows_are_those_of_the_whole_batch(of):
    """Two processes; the second one's caption is the shortest, so that its steps end earlier."""
    lengths, layer = torch.tensor([3, 5, 2]), torch.nn.Dropout(0.5)
    drawn = []
    for own in ([0, 1, 2], [0, 1], [2]):
        torch.manual_seed(1)
        draws = Draws(lengths, torch.tensor(own))
        rows = []
        for _ in range(int(lengths[own].max())):
            draws.next_step()
            x = torch.ones(len(draws.step.own), 4)
            rows.append(dropout(layer, x, draws, "step"))
        draws.end_steps()
        if of != "step":
            rows = [dropout(layer, torch.ones(len(getattr(draws, of).own), 4), draws, of)]
        drawn.append(rows)
    whole, first, second = drawn
    if of == "captions":  # sorted: the second, the first, the third
        assert torch.equal(whole[0], torch.cat([first[0], second[0]]))
    if of == "words":  # 3 + 3 + 2 + 1 + 1 of all, in steps; the rest fills up to 64
        for mine, places in ((first[0], [0, 1, 3, 4, 6, 7, 8, 9]), (second[0], [2, 5])):
            assert torch.equal(mine[: len(places)], whole[0][places])
    if of == "step":
        for step, rows in enumerate(whole):
            mine = [run[step] for run in (first, second) if step < len(run)]
            assert torch.equal(rows, torch.cat(mine))


class Asked(Trainer):
    """Is asked to stop while it computes its fifth step."""

    def train_step(self, batch):
        if self.state.step == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().train_step(batch)


def test_asked_to_end_it_saves_the_step_and_leaves_with_143(store, tmp_path, capsys):
    config = SMALL | {"attention": "gumbel"}
    with pytest.raises(SystemExit) as left:
        Asked(store, tmp_path / "cut", resolve(PHOTOS, config), progress=False).run()
    assert left.value.code == 143
    assert "labkit: asked to stop: step 5 is saved, --resume" in capsys.readouterr().err
    assert checkpoint.load(tmp_path / "cut" / "checkpoint.safetensors")[1]["step"] == 5
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    train(store, tmp_path / "cut", resume=True, progress=False)
    train(store, tmp_path / "whole", config, progress=False)
    assert rows_of(tmp_path / "cut") == rows_of(tmp_path / "whole")
    ours, theirs = (tmp_path / name / "model.safetensors" for name in ("cut", "whole"))
    assert ours.read_bytes() == theirs.read_bytes()


LIVES = """
import json, os, signal, sys
from pathlib import Path
import torch
from labkit.distributed import init_distributed
from labkit.training.config import PHOTOS, resolve
from labkit.training.trainer import Trainer
torch.set_num_threads(1)
store, run, config, notes = sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), Path(sys.argv[4])
group, life = init_distributed(), os.environ["TORCHELASTIC_RESTART_COUNT"]

def note(batch, path):
    samples = zip(batch.indices[batch.rows].tolist(), batch.caption_numbers.tolist(), strict=True)
    path.write_text(json.dumps([*samples] * int(batch.weight[0])))

class Trying(Trainer):
    def train_step(self, batch):
        if (life, group.rank, self.state.step) == ("0", 1, 5):
            os.kill(os.getpid(), signal.SIGKILL)
        if (life, group.rank, self.state.step) == ("1", 0, 8):
            os.kill(os.getpid(), signal.SIGTERM)
        step = self.state.step
        super().train_step(batch)
        note(batch, notes / f"{step}-{group.rank}.json")

try:
    Trying(store, run, resolve(PHOTOS, config), True, group, progress=False).run()
except SystemExit as end:
    (notes / f"code-{group.rank}").write_text(str(end.code))
    raise
"""


def test_a_killed_worker_comes_back_and_another_number_of_workers_goes_on(store, tmp_path):
    """Real processes under torchrun. The second of two is killed, both come back; the first is
    asked to stop, both save and leave; and one process goes on. Each sample was learned from once.
    """
    config = SMALL | {"attention": "reinforce", "epochs": 2}
    (tmp_path / "lives.py").write_text(LIVES)
    notes, run = tmp_path / "notes", tmp_path / "run"
    notes.mkdir()
    words = store, run, json.dumps(config), notes
    done = torchrun(2, tmp_path / "lives.py", *words, first=TRAINING, restarts=1)
    assert [(notes / f"code-{rank}").read_text() for rank in (0, 1)] == ["143", "143"], done.stderr
    assert done.returncode != 0  # torchrun's own code
    assert checkpoint.load(run / "checkpoint.safetensors")[1]["step"] == 9

    class Noting(Trainer):
        def train_step(self, batch):
            images, numbers = batch.indices[batch.rows].tolist(), batch.caption_numbers.tolist()
            samples = [*zip(images, numbers, strict=True)]
            (notes / f"{self.state.step}-0.json").write_text(json.dumps(samples))
            return super().train_step(batch)

    last = Noting(store, run, resolve(PHOTOS, config), True, progress=False)
    last.run()
    steps = len(last.loader)
    for epoch in range(2):
        files = [path for path in notes.glob("*.json")
                 if int(path.name.split("-")[0]) // steps == epoch]  # fmt: skip
        seen = Counter(tuple(one) for path in files for one in json.loads(path.read_text()))
        assert len(seen) == last.loader.num_samples and set(seen.values()) == {1}
    train(store, tmp_path / "whole", config, progress=False)
    assert_alike(tmp_path / "whole", run)
