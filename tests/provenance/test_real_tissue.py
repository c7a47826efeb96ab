"""Pictures that show real patches beside generated ones stay out of a crate unless they are asked for."""

import pytest

from histogenesis.provenance.share import shows_real_tissue


@pytest.mark.parametrize(
    "name,shows",
    [
        ("evaluation/closest_pairs.png", True),
        ("evaluation/evidence/stain-statistics/1.png", True),  # the patches behind a number, real ones beside
        ("evaluation/c2st/1.png", True),  # what a classifier took real patches for
        ("evaluation/synthetic_001/contact.png", True),
        ("evaluation/evidence.json", False),
        ("evaluation/condition.json", False),
        ("evaluation/synthetic_001/cross_scale_level1.png", False),
        ("synthetic/synthetic_001.tif", False),
    ],
)
def test_what_shows_real_tissue(name, shows, tmp_path):
    (tmp_path / "recipe.yaml").write_text("synthetic: {levels: [{kind: draw}]}\n")
    assert shows_real_tissue(f"results/demo/{name}", "demo", None, tmp_path) == shows
