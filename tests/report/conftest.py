"""The made-up run, made once and copied for each test."""

import shutil
from pathlib import Path

import made_up
import pytest


@pytest.fixture(scope="session")
def original_run(tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("made-up") / "made-up"
    made_up.make_run(run)
    return run


@pytest.fixture
def made_up_run(original_run, tmp_path) -> Path:
    """Two patients that train, one held out, one slide set aside, one warning; a synthetic slide; a model."""
    return Path(shutil.copytree(original_run, tmp_path / "results" / "made-up"))
