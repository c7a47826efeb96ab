"""What planning and drawing import: a recipe is read where no PyTorch is, and the engine runs where no pydantic is."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "without"),
    [
        ("histogenesis.recipe", ("torch", "h5py", "scipy")),
        ("histogenesis.canvas.plan", ("torch", "h5py", "pydantic")),
        ("histogenesis.canvas.engine", ("pydantic", "yaml", "scipy", "skimage")),
    ],
)
def test_what_is_not_imported(module, without):
    code = f"import sys, {module}; print([m for m in {without} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
