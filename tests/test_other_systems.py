"""The whole path where a system is not Linux: what it lacks is taken away, and the commands work.

Slow: a new process for each system draws scenes, trains and captions, and for one of them starts
METEOR's Java, to score. `tests/store/test_systems.py` looks at the store alone, and closer.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from labkit.data.scenes import make_scenes

WITHOUT = """
import json, multiprocessing, os, sys, warnings

lacks, system = sys.argv[1].split(), sys.argv[2]
import psutil  # which itself has another way on Windows
for name in lacks:
    if hasattr(os, name):
        delattr(os, name)
    else:
        sys.modules[name] = None
multiprocessing.set_start_method("spawn")
warnings.filterwarnings("error", category=EncodingWarning, module="labkit")  # UTF-8 is not implied

from labkit import console
from labkit.cli.main import app
import labkit.evaluation.evaluate, labkit.training.run, labkit.figures.caption_photos
import filelock, torch._dynamo, matplotlib.font_manager, pycocoevalcap.meteor.meteor
sys.platform = system  # after the imports: theirs are those of the real system

def labkit(*words):
    sys.argv = ["labkit", *words]
    code = console.run(app)
    if code:
        sys.exit(f"{words}: {code}")

labkit("prepare", "scenes", "--out", "store", "--count", "10")
labkit("verify", "store")
sizes = ("hidden_dim=8", "embed_dim=8", "attention_dim=8", "feature_dim=8", "num_workers=2")
labkit("train", "store", "--out", "run", "--epochs", "1", *(f"--set={one}" for one in sizes))
labkit("train", "store", "--out", "run", "--epochs", "1", "--resume")
if system == "win32":  # METEOR's Java is the same everywhere
    labkit("evaluate", "run", "--json", "scores.json")
labkit("caption", "scenes-soft", "scene.png", "--out", "captions")
sys.stdout.flush()
from labkit.cli.doctor import diagnose
report = diagnose()
print(json.dumps([report.found["system"], report.notes]))
"""
SYSTEMS = {
    "win32": "fork preadv pread posix_fadvise sched_getaffinity resource",
    "darwin": "posix_fadvise sched_getaffinity",
}


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_commands_do_without_what_a_system_lacks(tmp_path, system):
    Image.fromarray(make_scenes(1, 0, "test")[0].image).save(tmp_path / "scene.png")
    root, lacks = Path(__file__).parents[1], SYSTEMS[system]
    done = subprocess.run(
        [sys.executable, "-X", "warn_default_encoding", "-c", WITHOUT, lacks, system],
        cwd=tmp_path, capture_output=True, text=True, timeout=900, encoding="utf-8",
        env=os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    if system == "win32":
        scores = json.loads((tmp_path / "scores.json").read_text())
        assert 0 <= scores["meteor"] <= 1 and scores["images"] == 10
    assert (tmp_path / "captions" / "scene.png").stat().st_size > 1000
    *_, last = done.stdout.splitlines()
    found, notes = json.loads(last)
    assert found["fork"] == (system == "darwin") and found["resource"] == (system == "darwin")
    assert any(line.startswith("nothing is read ahead") for line in notes)
