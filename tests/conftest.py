"""What several tests share."""

import shutil
from pathlib import Path

import pytest

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


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of photographs beside the project; a test that needs it skips without it."""
    if not (SHARED / "data").is_dir():
        pytest.skip(f"needs the photographs in {SHARED.name}/data beside the project")
    return SHARED


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
