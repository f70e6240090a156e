"""What several tests share."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of photographs beside the project; a test that needs it skips without it."""
    if not (SHARED / "data").is_dir():
        pytest.skip(f"needs the photographs in {SHARED.name}/data beside the project")
    return SHARED
