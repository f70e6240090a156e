"""What labkit does gives no warning: here each is an error, in processes of their own.

Slow: one of them imports all of labkit, trains, and starts METEOR's Java.
"""

import os
import subprocess
import sys

import pytest
from test_frame import FILES, ROOT, dotted

MODULES = sorted({dotted(path) for path in FILES} - {"labkit.__main__"})  # that one starts
FILTERS = [
    "error",
    # Python 3.12 and later warn of any fork beside threads; labkit/store/loader.py says why it is
    # safe there.
    "ignore:This process:DeprecationWarning",
]
WAY = """
import importlib, sys

for name in sys.argv[1:]:
    importlib.import_module(name)

from labkit import Captioner, make_scenes, prepare_scenes, train
from labkit.evaluation import evaluate_model
from labkit.export import export_to_browser

small = {"hidden_dim": 8, "feature_dim": 8, "embed_dim": 8, "attention_dim": 8}
store = prepare_scenes("store", count=20, progress=False)
train(store, "run", epochs=1, batch_size=25, progress=False, **small)
captioner = Captioner.from_pretrained("run")
print(captioner.caption(make_scenes(1)[0].image, num_beams=2).words)
print(evaluate_model("run", store, "train", progress=False).images)
export_to_browser(["run"], "page")
"""


def python(*words, cwd):
    given = {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": ",".join(FILTERS)}
    done = subprocess.run(
        [sys.executable, *words], cwd=cwd, capture_output=True, text=True, timeout=600,
        env=os.environ | given,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr  # of one that is noticed when an object is destroyed
    return done.stdout


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"]])
def test_the_command_line_gives_no_warning(words, tmp_path):
    assert "Usage" in python("-m", "labkit", *words, cwd=tmp_path)


def test_the_way_from_scenes_to_a_page_gives_no_warning(tmp_path):
    said = python("-c", WAY, *MODULES, cwd=tmp_path)
    assert len(said.splitlines()) == 2 and (tmp_path / "page" / "index.html").is_file()
