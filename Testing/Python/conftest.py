"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest

pytest_plugins = ["panel_fixtures"]  # the fixtures `opened` and `place`

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real development images; tests that need it are left out, by name, where it is absent."""
    folder = Path(os.environ.get("GANSYNTHESIS_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real images are absent: no folder {folder} (set GANSYNTHESIS_DATA to name another)")
    return folder
