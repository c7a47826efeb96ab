"""What recipes propose in a comment is a recipe once the `#` is taken away."""

import re

import pytest

from histogenesis.metrics.encoders.registry import INCEPTION_URL
from histogenesis.recipe import load_recipe

PROPOSED = re.compile(r"^( *)# ( *(?:evaluation:$|encoders: \[.*\]$))", re.MULTILINE)


@pytest.mark.parametrize("name", ["published/urcdm", "published/diffusion4path", "urcdm", "harb"])
def test_the_papers_encoder_is_one_line_away(root, tmp_path, name):
    config = root / "config"
    text, lines = PROPOSED.subn(r"\1\2", (config / f"{name}.yaml").read_text())
    assert lines >= 1
    path = tmp_path / "own.yaml"
    path.write_text(re.sub(r"^extends: ", f"extends: {config}/", text, flags=re.MULTILINE))
    before, after = load_recipe(config / f"{name}.yaml").evaluation, load_recipe(path).evaluation
    assert (
        after.encoders[-1].name == "inception" and after.encoders[-1].file == f"weights/{INCEPTION_URL.split('/')[-1]}"
    )
    assert after.encoders[:-1] == before.encoders and after.images == before.images
