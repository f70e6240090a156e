"""The short form of `benchmarks/fuzz.py`: every reader, with a few spoiled files.

FUZZ=10000 in the environment tries as many.
"""

import os
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
import fuzz

INPUTS = int(os.environ.get("FUZZ", "100"))
FEW = {"model": 0.2, "notebook": 0.2}  # that are slow to read


@pytest.mark.parametrize("name", fuzz.TARGETS)
def test_spoiled_files_end_in_a_sentence_or_are_read(name):
    share = FEW.get(name.split(",")[0], 1)
    counts, faults = fuzz.fuzz(name, int(INPUTS * share))
    assert not faults, "\n".join(faults[:5])
    assert counts["inputs"] == int(INPUTS * share)
    assert set(counts) <= {"inputs", "accepted", "refused"}
