"""A level that is given: the levels below are drawn under a region of a real slide, by a model of another run."""

import h5py
import numpy as np
import pytest
import yaml

from histogenesis.evaluation.crops import CanvasSource

pytestmark = pytest.mark.workflow
LEVEL = "results/given/synthetic/synthetic_001/level1.h5"


def test_a_level_is_drawn_under_a_real_one(copied):
    values = yaml.safe_load((copied.root / "config/test/harb.yaml").read_text()) | {"run": "given"}
    values["models"] = {"shared": {"path": "results/test-harb/models/shared"}}
    second = values["synthetic"]["levels"][1]
    second["constraint"]["relaxation"] = {"sigma": 0}
    second["sampler"]["threshold"] = {"kind": "static"}
    values["synthetic"]["levels"] = [{"kind": "given", "slide": "phantom_a", "mpp": 16, "size_px": [64, 80]}, second]
    values["synthetic"]["plan"] = {"method": "all"}
    values["evaluation"]["patches"] = "main"
    recipe = copied.folder / "given.yaml"
    recipe.write_text(yaml.safe_dump(values))
    done = copied.run(str(recipe), "--", LEVEL)
    again = copied.run(str(recipe), "--dry-run", "--printshellcmds", "--forcerun", "give_level", "--", LEVEL).stdout
    assert "--models results/test-harb/models/shared" in again, "whose stain is asked for"
    folder = copied.folder / "results/given/synthetic/synthetic_001"
    with h5py.File(folder / "level0.h5") as above, h5py.File(folder / "level1.h5") as level:
        y, x = above["image"][:].astype(float), level["image"][:].astype(float)
        assert above.attrs["given"] == "phantom_a" and level.attrs["synthetic"]
    inside = ((x > 0) & (x < 255)).reshape(64, 2, 80, 2, 3).all(axis=(1, 3))
    assert inside.mean() > 0.2 and y.std() > 5
    assert np.abs(x.reshape(64, 2, 80, 2, 3).mean(axis=(1, 3)) - y)[inside].max() <= 0.5, (
        "it averages back to the slide"
    )
    source = CanvasSource(folder)
    assert source.level(16) is None and source.level(8) is not None, "what is real is not compared as if it were drawn"
    source.close()
    evaluation = "--dry-run", "--printshellcmds", "--", "results/given/evaluation/metrics.json"
    assert "--model $(dirname results/given/models/shared" not in copied.run(str(recipe), *evaluation).stdout
    values["models"]["shared"]["patches"] = "main"
    recipe.write_text(yaml.safe_dump(values))
    assert "--model $(dirname results/given/models/shared" in copied.run(str(recipe), *evaluation).stdout, (
        "for membership"
    )
    data = copied.run(str(recipe), "--dry-run", "--printshellcmds", "--", "results/given/data.json").stdout
    assert '[["main", "results/test-harb/models/shared"]]' in data, "what it draws is compared with them"
    values["synthetic"]["levels"][0]["slide"] = "absent"
    recipe.write_text(yaml.safe_dump(values))
    done = copied.run(str(recipe), "--dry-run", check=False)
    assert "no slide 'absent'; there are phantom_a, phantom_b, phantom_c" in done.stdout + done.stderr
