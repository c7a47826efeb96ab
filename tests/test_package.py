"""The package outside of the clone: a wheel in an environment of its own, whose commands work in another folder."""

import os
import re
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

# A clone's files beside the wheel's would hide what the wheel lacks, so nothing here may come from PYTHONPATH.
COMMANDS_ALONE = """
import runpy, sys

class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "openslide", "snakemake", "skimage", "shapely", "simplejpeg", "tifffile"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name.split(".")[0])

sys.meta_path.insert(0, Refused())
sys.argv = ["histogenesis", *sys.argv[1:]]
runpy.run_module("histogenesis", run_name="__main__")
"""


FEW = """
run: few
models:
  layout: {pretrained: gut-he-layout-v1}
samples:
  few: {model: layout, images: 2, mpp: 16, size_px: 32, batch: 2, sampler: {kind: dpmpp-2m, steps: 2}}
evaluation: {enabled: false}
"""


@pytest.fixture(scope="module")
def wheel(root, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    words = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(folder),
        str(root),
    ]
    subprocess.run(words, check=True, capture_output=True)
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory) -> Path:
    """A fresh environment with the wheel, which finds the other packages where these tests find them."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    site = folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    with zipfile.ZipFile(wheel) as file:
        file.extractall(site)
    (site / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin/python"


def run(python: Path, folder: Path, *words: str, code: str | None = None) -> str:
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    start = ["-c", code] if code else ["-m", "histogenesis"]
    done = subprocess.run(
        [str(python), *start, *words], cwd=folder, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_wheel_says_what_it_needs(wheel):
    with zipfile.ZipFile(wheel) as file:
        (name,) = (name for name in file.namelist() if name.endswith("METADATA"))
        metadata, names = file.read(name).decode(), file.namelist()
    needed = set(re.findall(r"^Requires-Dist: ([\w-]+)", metadata, re.MULTILINE))
    assert {"pydantic", "numpy", "torch", "openslide-python", "snakemake"} <= needed
    assert set(re.findall(r"^Provides-Extra: (\w+)", metadata, re.MULTILINE)) == {
        "slides",
        "train",
        "evaluate",
        "workflow",
    }
    assert "License-Expression: Apache-2.0" in metadata
    for part in ("Snakefile", "rules/common.smk", "workflow/Snakefile", "config/harb.yaml", "envs/torch.yaml"):
        assert f"histogenesis/workflow/{part}" in names


def test_it_comes_from_the_wheel(python, tmp_path):
    where = run(python, tmp_path, code="import histogenesis; print(histogenesis.__file__)")
    assert Path(where.strip()).is_relative_to(python.parent.parent)


@pytest.mark.parametrize("without", [None, COMMANDS_ALONE], ids=["all packages", "what is needed without extras"])
def test_commands_work_outside_of_the_clone(python, tmp_path, without):
    (tmp_path / "own.yaml").write_text("extends: phantom.yaml\nrun: own\nseed: 3\n")
    assert "own.yaml: valid" in run(python, tmp_path, "check", "own.yaml", code=without)
    run(python, tmp_path, "schema", "--out", "schema.json", code=without)
    assert '"extends"' in (tmp_path / "schema.json").read_text()
    assert "histogenesis" in run(python, tmp_path, "doctor", code=without)
    for command in ("compare", "verify", "draw", "share", "init"):
        assert "examples:" in run(python, tmp_path, command, "--help", code=without)


@pytest.mark.workflow
def test_a_recipe_is_planned_outside_of_the_clone(python, tmp_path):
    """By the workflow that the wheel holds: unpacked into the folder, where jobs find it."""
    (tmp_path / "own.yaml").write_text("extends: test/harb.yaml\nrun: own\n")
    plan = run(python, tmp_path, "run", "own.yaml", "--", "--dry-run")
    assert re.search(r"^train_model\s+1$", plan, re.MULTILINE) and re.search(r"^draw_level\s+6$", plan, re.MULTILINE)
    (code,) = (tmp_path / ".histogenesis/code").iterdir()
    assert (code / "src/histogenesis/cli.py").exists() and not (code / "src/histogenesis/workflow").exists()


@pytest.mark.workflow
def test_a_run_is_shared_outside_of_the_clone(python, tmp_path):
    """With the code that its jobs ran, which the wheel had unpacked, and which checks the crate anywhere; and with no other."""
    (tmp_path / "own.yaml").write_text(FEW)
    run(python, tmp_path, "run", "own.yaml", "--cores", "2")
    assert "nothing to be done" in run(python, tmp_path, "plan", "own.yaml")
    run(python, tmp_path, "share", "results/few", "--out", "few.zip")
    with zipfile.ZipFile(tmp_path / "few.zip") as file:
        file.extractall(tmp_path / "crate")
        names = file.namelist()
    assert {
        "code/Snakefile",
        "code/workflow/scripts/take_model.py",
        "results/few/models/layout/model.safetensors",
    } <= set(names)
    (code,) = (tmp_path / ".histogenesis/code").iterdir()
    parts = {path.relative_to(code).as_posix() for path in code.glob("src/histogenesis/**/*.py")}
    assert parts and {f"code/{part}" for part in parts} <= set(names)
    assert not [name for name in names if "src/histogenesis/pretrained" in name]  # weights are no code
    alone = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"PYTHONPATH": "code/src"}
    verify = [sys.executable, "-m", "histogenesis", "verify", "."]
    assert subprocess.run(verify, cwd=tmp_path / "crate", env=alone, check=False).returncode == 0
    with (code / "src/histogenesis/steps/take_model.py").open("a") as file:  # other code than what made the run
        file.write("NEW = 1\n")
    with pytest.raises(AssertionError, match="take_model: made by other code"):
        run(python, tmp_path, "share", "results/few", "--out", "again.zip")


@pytest.mark.long
def test_a_really_empty_environment(wheel, tmp_path):
    """With what the wheel itself declares, from the package index."""
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "env")], check=True)
    python = tmp_path / "env/bin/python"
    subprocess.run([str(python), "-m", "pip", "install", "-q", str(wheel)], check=True)
    (tmp_path / "own.yaml").write_text("extends: phantom.yaml\nrun: own\n")
    assert "own.yaml: valid" in run(python, tmp_path, "check", "own.yaml")
