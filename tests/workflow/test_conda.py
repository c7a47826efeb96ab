"""`--sdm conda`: the environments are made from their files, hold just what is pinned there, and give the same results.

Conda itself cannot be had from a package index; standin_conda.py takes its place (venv and pip).
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from packaging.utils import canonicalize_name

from .test_reruns import COARSE, PIN, REPORT, jobs

STANDIN = Path(__file__).parent / "standin_conda.py"


@pytest.fixture
def conda(tmp_path) -> dict[str, str]:
    """The environment of a user who has a conda."""
    folder = tmp_path / "conda/bin"
    folder.mkdir(parents=True)
    (folder / "standin_conda.py").write_text(STANDIN.read_text())
    (folder / "conda").write_text(f'#!/bin/sh\nexec {sys.executable} {folder}/standin_conda.py "$@"\n')
    (folder / "conda").chmod(0o755)
    (folder / "activate").write_text('. "$1/bin/activate"\n')
    return {"PATH": os.pathsep.join([str(folder), str(Path(sys.executable).parent), os.environ["PATH"]])}


def installed(prefix: Path) -> dict[str, str]:
    command = [prefix / "bin/python", "-m", "pip", "list", "--format", "json", "--disable-pip-version-check"]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return {canonicalize_name(package["name"]): package["version"].split("+")[0] for package in found}


def pinned(file: Path) -> dict[str, str]:
    *_, last = yaml.safe_load(file.read_text())["dependencies"]
    return {canonicalize_name(name): version for name, version in (pin.split("==") for pin in last["pip"])}


def check_environments(folder: Path, names: dict[str, set[str]]) -> None:
    """Each environment in `folder` holds what its file pins and, besides pip, what `names` says."""
    files = sorted((folder / ".snakemake/conda").glob("*_.yaml"))
    assert len(files) == len(names)
    for file in files:
        found, wanted = installed(file.with_suffix("")), pinned(file)
        extra = names["histolab" if "shapely" in wanted else "torch" if "jinja2" not in wanted else "evaluation"]
        assert {name: found.get(name) for name in wanted} == wanted
        assert set(found) - set(wanted) - {"setuptools"} == {"pip", *extra}


def test_conda_on_or_off_is_no_change(lab, conda):
    """Environments are pinned, and what they install is among the params: a run goes on with conda or without."""
    assert lab.planned("--sdm", "conda", **conda) == {}
    lab.edit("code/envs/torch.yaml", PIN)
    assert lab.planned("--sdm", "conda", **conda) == jobs(COARSE, REPORT, train_model=1)


def test_steps_run_in_the_environment_that_conda_makes(finished, conda, tmp_path):
    masks = (finished.folder / "results/test-harb/tissue").glob("*/mask.png")
    outputs = sorted(str(path.relative_to(finished.folder)) for path in masks)
    assert outputs
    run = type(finished)(finished.root, tmp_path / "run")
    run.folder.mkdir()
    run.run("config/test/harb.yaml", "--sdm", "conda", "--", *outputs, **conda)
    for name in outputs:
        assert (run.folder / name).read_bytes() == (finished.folder / name).read_bytes()
    check_environments(run.folder, {"histolab": {"histolab"}})


@pytest.mark.long
def test_the_whole_recipe_runs_in_its_environments_to_the_same_pixels(finished, conda, tmp_path):
    run = type(finished)(finished.root, tmp_path / "run")
    run.folder.mkdir()
    run.run("config/test/harb.yaml", "--sdm", "conda", **conda)
    slides = sorted((finished.folder / "results/test-harb/synthetic").glob("*.tif"))
    assert slides
    for slide in slides:
        assert (run.folder / slide.relative_to(finished.folder)).read_bytes() == slide.read_bytes()
    check_environments(run.folder, {"histolab": {"histolab"}, "torch": set(), "evaluation": set()})
