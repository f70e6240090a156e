"""Where a system is not Linux: what it lacks is taken away, and everything still works.

Slow (some seconds each): a new process imports torch.
"""

import subprocess
import sys
from pathlib import Path

import pytest

WITHOUT = """
import os, sys
from pathlib import Path
import psutil  # which itself has another way on Windows

for name in sys.argv[2].split():
    if name == "smaps":
        read_text = Path.read_text
        def missing(path, *args, **kwargs):
            if "smaps" in str(path):
                raise FileNotFoundError(path)
            return read_text(path, *args, **kwargs)
        Path.read_text = missing
    elif hasattr(os, name):
        delattr(os, name)
    else:
        sys.modules[name] = None

from concurrent.futures import ThreadPoolExecutor
from small_stores import features_of, make_store
from labkit.store.loader import Loader
from labkit.store.memory import memory_left, memory_now, peak_memory
from labkit.store.shards import FeatureStore
from labkit.store.alternatives import LOADERS

store = make_store(Path(sys.argv[1]))
with ThreadPoolExecutor(8) as pool:  # several threads may read at once
    rows = list(pool.map(lambda k: store.read([k % 25])[0], range(500)))
assert all((row == features_of(k % 25)).all() for k, row in enumerate(rows))
with peak_memory() as peak:
    for kind, make in LOADERS.items():
        images = [i for batch in make(store, 4) for i in batch.indices.tolist()]
        assert sorted(set(images)) == list(range(25)), kind
    loader = Loader(store, 4, captions="none", shuffle=False)
    for batch in loader:
        for row, image in enumerate(batch.indices.tolist()):
            assert (batch.features[row].numpy() == features_of(image)).all()
assert 10 << 20 < memory_now().own < 10 << 30 and memory_now().own <= peak.own * 2
assert memory_left() > 0
print(loader.num_workers)
"""
LACKS = {
    "Windows": "preadv pread posix_fadvise fork resource smaps",
    "macOS": "posix_fadvise smaps",
    "an old Linux": "smaps",
    "no fork": "fork",
}


@pytest.mark.parametrize("system", LACKS)
def test_what_a_system_lacks_is_done_without(tmp_path, system):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, str(tmp_path / "store"), LACKS[system]],
        cwd=Path(__file__).parents[1], capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == ("0\n" if "fork" in LACKS[system] else "2\n")
