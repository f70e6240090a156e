"""What a command imports before it works: no heavy library for help, no compiler for captions."""

import json
import subprocess
import sys

from test_cli import VERBS

HEAVY = {"torch", "torchvision", "matplotlib", "scipy"}
HELP = """
import json, sys
from typer.testing import CliRunner
from labkit.cli.main import app
for words in json.loads(sys.argv[1]):
    print(json.dumps([CliRunner().invoke(app, words).exit_code, words]))
print(json.dumps(sorted({name.split(".")[0] for name in sys.modules})))
"""
LOAD = """
import json, sys, torch
before = set(sys.modules)
from labkit.model.captioner import Captioner
captioner = Captioner.from_pretrained("scenes-soft")
captioner.encoder
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def python(code, *words):
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_help_and_mistyped_commands_import_nothing_heavy():
    right = [["--help"], ["prepare", "--help"], *([*verb, "--help"] for verb in VERBS)]
    wrong = [["no-such-verb"], ["caption"], ["train", "store", "--out", "run", "--epochs", "many"]]
    *codes, modules = python(HELP, json.dumps(right + wrong))
    assert codes == [[0, words] for words in right] + [[2, words] for words in wrong]
    assert "labkit" in modules and not HEAVY & set(modules)


def test_the_list_of_commands_cuts_no_summary():
    for words in (["--help"], ["prepare", "--help"]):
        command = [sys.executable, "-m", "labkit", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        listed = done.stdout.split("Commands:")[1].splitlines()
        assert len(listed) > 5 and not [line for line in listed if line.endswith("...")]


def test_a_model_is_loaded_without_a_compiler_and_without_torchvision():
    (modules,) = python(LOAD)
    assert "labkit.model.decoder" in modules
    assert not {"torch._dynamo", "sympy", "torchvision"} & set(modules)
