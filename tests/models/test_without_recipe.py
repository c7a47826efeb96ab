"""Networks, training and samplers run where there is PyTorch, NumPy, h5py, safetensors and tqdm, and nothing else."""

import json
import os
import subprocess
import sys
import textwrap

import pytest
from safetensors.torch import load_file

from histogenesis.phantom.slide import make_phantom
from histogenesis.recipe import Phantom

ONLY = """
import sys

class Without:
    \"\"\"Finds what a finder finds, but for what a machine with PyTorch alone would not have.\"\"\"
    names = {"pydantic", "pydantic_core", "yaml", "pandas", "scipy", "skimage", "matplotlib", "diffusers", "monai", "snakemake"}
    names |= {"openslide", "tifffile", "cv2", "simplejpeg", "jinja2", "histolab", "shapely", "torchmetrics", "pyvips"}

    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        absent = name.split(".")[0] in self.names or name.startswith("histogenesis.recipe")
        return None if absent else self.finder.find_spec(name, path, target)

sys.meta_path[:] = [Without(finder) for finder in sys.meta_path if hasattr(finder, "find_spec")]
"""


def run(root, code, *arguments):
    environment = os.environ | {"PYTHONPATH": str(root / "src"), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-c", ONLY + textwrap.dedent(code), *map(str, arguments)]
    return subprocess.run(words, check=False, capture_output=True, text=True, env=environment, cwd=root)


def test_every_module_of_the_models_and_samplers_is_read_without_the_recipes_library(root):
    names = [
        ".".join(path.relative_to(root / "src").with_suffix("").parts)
        for room in ("models", "sampling", "core")
        for path in sorted((root / "src/histogenesis" / room).rglob("*.py"))
        if path.name != "__init__.py"
    ]
    assert len(names) > 20
    done = run(root, f"import importlib\nfor name in {names}: importlib.import_module(name)")
    assert done.returncode == 0, done.stderr
    refused = run(root, "import histogenesis.recipe")
    assert "No module named 'histogenesis.recipe'" in refused.stderr, "what is blocked is blocked"


def test_the_benchmark_of_a_gpu_runs_on_a_cpu_and_draws_the_same_again(root, tmp_path):
    code = """
    import runpy
    sys.argv = ["benchmarks/gpu.py", "--minutes", "20", "--out", sys.argv[1]]
    runpy.run_path("benchmarks/gpu.py", run_name="__main__")
    """
    done = run(root, code, tmp_path / "gpu.json")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "gpu.json").read_text())
    drawn = found["drawing"]
    assert drawn["same_pixels_after_an_interruption"] is True
    assert [row["side_px"] for row in drawn["levels"]] == [32, 64, 128] and {
        row["state"] for row in drawn["levels"]
    } == {"host"}
    assert drawn["levels"][0]["evaluated_Mpx"] == 7 * 32**2 / 1e6, "four steps of Heun"
    assert 4 * 64**2 / 1e6 <= drawn["levels"][1]["evaluated_Mpx"] <= 4 * 96**2 / 1e6, "2 x 2 tiles or, shifted, 3 x 3"
    half = drawn["levels"][2]["evaluated_Mpx"] / (4 * 128**2 / 1e6)
    assert 0.5 < half < 25 / 16, "tiles that hold no tissue are not evaluated"
    assert drawn["seconds_per_Mpx"] * 128**2 / 1e6 == pytest.approx(sum(row["seconds"] for row in drawn["levels"]))
    for part in (drawn, found["training"]):
        assert part["bound_by"] and 0 < part["share_of_bf16"] < 1 and 0 < part["share_of_copy"] < 1
    assert {row["way"] for row in found["network"]} == {"float32", "autocast", "cast once"}
    assert all(row["error"] < 0.03 for row in found["network"])
    assert found["training"]["images_per_s"] > 0 and found["training"]["seconds_per_Mpx"] > 0


def test_a_model_is_trained_from_slides_where_there_is_no_recipe(root, tmp_path):
    """Shown the level above, begun with one that ships, five steps on a CPU; run again it leaves the same."""
    phantom = Phantom(name="small", width_mm=0.5, height_mm=0.4, mpp=0.5, seed=4)
    make_phantom(phantom, tmp_path / "small.tif", tmp_path / "mask.png")
    code = """
    import runpy
    Without.names -= {"tifffile", "cv2"}  # which are there
    sys.argv = ["train_on_gpu.py", *sys.argv[1:]]
    runpy.run_path("benchmarks/train_on_gpu.py", run_name="__main__")
    """
    words = [tmp_path / "small.tif", "--halvings", 0, 1, "--px", 32, "--batch", 4, "--steps", 5, "--sigma-limit", 5]
    words += ["--lowres-factor", 2, "--lowres-noise-limit", 0.1, "--state", tmp_path / "state", "--out"]
    first = run(root, code, *words, tmp_path / "first", "--start", "gut-he-cells-v2")
    assert first.returncode == 0 and "from step 0" in first.stdout and "step 5, 20 images" in first.stdout, first.stderr
    facts = json.loads((tmp_path / "first/model.json").read_text())
    there = json.loads((root / "pretrained/gut-he-cells-v2/model.json").read_text())
    assert facts["mpps"] == [1.0, 0.5] and facts["conditions"] == ["mpp", "lowres"] and facts["steps"] == 5
    assert facts["normalisation"] == there["normalisation"] and facts["network"] == there["network"]
    weights = load_file(tmp_path / "first/model.safetensors")
    before = load_file(root / "pretrained/gut-he-cells-v2/model.safetensors")
    apart = max(float((weights[name].float() - w).abs().max()) for name, w in before.items())
    assert 1e-6 < apart < 0.05, "a little off where it began"
    again = run(root, code, *words, tmp_path / "again", "--start", "gut-he-cells-v2")
    assert again.returncode == 0 and "from step 5" in again.stdout, again.stderr
    assert (tmp_path / "again/model.safetensors").read_bytes() == (tmp_path / "first/model.safetensors").read_bytes()
    misspelt = run(root, code, *words, tmp_path / "other", "--start", "gut-he-cell-v2")
    assert misspelt.returncode == 1 and "did you mean gut-he-cells-v2?" in misspelt.stderr
