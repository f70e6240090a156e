"""Several processes train as one, whatever is sampled; and how they end when they are asked to."""

import json
import os
import signal
import subprocess
import sys

import pytest
import torch
from commands import TRAINING, torchrun
from safetensors.torch import load_file
from test_trainer import SMALL, make_store, rows_of
from waiting import until

from labkit.model.draws import Draws, dropout
from labkit.training.run import train

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
    kinds = [SMALL | {"epochs": 2, "log_every": 1} | kind for kind in KINDS]
    script = tmp_path / "run.py"
    script.write_text(SCRIPT)
    done = torchrun(2, script, store, tmp_path / "two", json.dumps(kinds), first=TRAINING)
    assert done.returncode == 0, done.stderr
    for number, settings in enumerate(kinds):
        train(store, tmp_path / "one" / str(number), settings, progress=False)
        runs = [tmp_path / name / str(number) for name in ("one", "two")]
        ours, theirs = map(rows_of, runs)
        assert len(ours) == len(theirs) > 6
        for mine, yours in zip(ours, theirs, strict=True):
            assert yours == pytest.approx(mine, abs=1.1e-4), settings  # they have four digits
        ours, theirs = (load_file(run / "checkpoint.safetensors") for run in runs)
        for name in (name for name in ours if name.startswith("model.")):
            torch.testing.assert_close(theirs[name], ours[name], atol=1e-4, rtol=0)


@pytest.mark.parametrize("of", ["captions", "words", "step"])
def test_own_rows_are_those_of_the_whole_batch(of):
    """Two processes; the second one's caption is the shortest, so that its steps end earlier."""
    lengths, layer = torch.tensor([3, 5, 2]), torch.nn.Dropout(0.5)
    drawn = []
    for own in ([0, 1, 2], [0, 1], [2]):
        torch.manual_seed(1)
        draws = Draws(lengths, torch.tensor(own))
        rows = []
        for step in range(int(lengths[own].max())):
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
