"""A level is drawn only by a model that has learnt its mpp: refused before anything is drawn, with what it has learnt."""

import json
import subprocess
import sys

import pytest

from histogenesis.core.errors import BadInput
from histogenesis.recipe import load_recipe
from histogenesis.recipe.imported import check_learnt


def folder(tmp_path, mpps):
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared/model.json").write_text(json.dumps({"mpps": mpps}))
    return tmp_path


def test_what_a_model_has_learnt_is_in_its_file(tmp_path):
    models = folder(tmp_path, [32.0, 16.0])
    check_learnt(models, {"shared": [(0, 32.9), (1, 16.0)], "not-trained-yet": [(2, 1.0)]})
    with pytest.raises(BadInput, match=r"has learnt mpps \[32.0, 16.0\] and never saw 64 \(level 0\), 8 \(level 3\)"):
        check_learnt(models, {"shared": [(0, 64.0), (1, 32.0), (3, 8.0)]})


def test_the_command_refuses_before_it_draws_even_for_levels_below(tmp_path, root):
    """Model, state and output are never looked at: the whole ladder is checked first."""
    recipe = load_recipe(root / "config/test/harb.yaml")
    models = folder(tmp_path, [16.0, 8.0])
    words = [
        sys.executable,
        root / "workflow/scripts/draw_level.py",
        "--slide",
        "s",
        "--k",
        "0",
        "--size-px",
        "32",
        "48",
    ]
    words += ["--options", recipe.synthetic.levels[0].model_dump_json(), "--seed", "1", "--models", models]
    words += [
        "--ladder",
        json.dumps(recipe.synthetic.drawn_mpps),
        "--state",
        tmp_path / "state",
        "--out",
        tmp_path / "x.h5",
    ]
    ended = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
    assert ended.returncode == 1 and not (tmp_path / "x.h5").exists() and not (tmp_path / "state").exists()
    assert (
        ended.stderr.strip().splitlines()[-1].startswith(f"error: {models / 'shared'}: it has learnt mpps [16.0, 8.0]")
    )
    assert "4 (level 2)" in ended.stderr
