"""A recipe that tests change."""

import pytest
import yaml


@pytest.fixture
def values(root):
    """config/test/harb.yaml, as it is read anew."""
    return yaml.safe_load((root / "config/test/harb.yaml").read_text())
