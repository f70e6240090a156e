"""What several tests share."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

# Those that take longest; the first forks often, which is quick while the process is still small.
LONG = [
    "store/test_loader.py", "book/test_book.py", "training/test_run_folder.py",
    "training/test_trainer.py", "training/test_reward_trainer.py", "labs/09_full_size.ipynb",
    "labs/03_memory.ipynb", "export/test_browser.py", "training/test_processes.py",
    "tests/test_hostile_files.py", "export/test_page.py", "evaluation/test_probes.py",
    "cli/test_cli.py", "evaluation/test_metrics.py", "labs/05_training.ipynb",
    "labs/07_generating_and_scoring.ipynb", "book/test_jupyterlab.py",
    "model/test_hard_attention.py", "cli/test_console.py", "labs/08_soft_against_hard.ipynb",
    "tests/test_wheel.py", "tests/test_other_systems.py", "training/test_compare.py",
    "labs/06_hard_attention.ipynb",
    "labs/11_learning_from_a_reward.ipynb", "labs/10_do_the_maps_explain.ipynb",
    "figures/test_viewer.py", "labs/02_annotation_vectors.ipynb", "cli/test_demo.py",
    "tests/test_warnings.py", "tests/test_types.py", "model/test_equations.py",
    "cli/test_faults.py", "checks/test_grading.py", "tests/test_distributed.py",
]  # fmt: skip
SHARED = Path(__file__).resolve().parents[2] / "shared"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def pytest_collection_modifyitems(items):
    """Long files begin first: at the end no process waits long for the other."""
    places = {name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: places.get("/".join(item.path.parts[-2:]), len(LONG)))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of photographs beside the project; a test that needs it skips without it."""
    if not (SHARED / "data").is_dir():
        pytest.skip(f"needs the photographs in {SHARED.name}/data beside the project")
    return SHARED


@pytest.fixture
def small_disk(tmp_path):
    """Mounts a small disk: ``small_disk("64k")`` gives its folder. Skips without the right to."""
    folder = tmp_path / "disk"

    def mount(size: str) -> Path:
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
        if not shutil.which("mount") or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("needs the right to mount a small disk")
        return folder

    yield mount
    if os.path.ismount(folder):
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def registry():
    """The attention mechanisms by name; what a test registers is gone after it."""
    from labkit.model.config import MECHANISMS
    from labkit.model.hard_attention import ATTENTIONS

    before = dict(ATTENTIONS), list(MECHANISMS)
    yield ATTENTIONS
    ATTENTIONS.clear()
    ATTENTIONS.update(before[0])
    MECHANISMS[:] = before[1]


@pytest.fixture(scope="module")
def browser():
    """A real Chromium without a window, closed when the file's tests are done."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip("needs chromium or google-chrome, and neither is installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def firefox():
    """A real Firefox without a window, see `firefox.Firefox`; it ends when the file's tests do."""
    driver = pytest.importorskip("firefox", reason="needs the package websocket-client")
    if driver.program() is None:
        pytest.skip("needs firefox-esr or firefox, and neither is installed")
    with driver.firefox(patience=300) as tab:  # s: a busy machine is no fault of a page
        yield tab
