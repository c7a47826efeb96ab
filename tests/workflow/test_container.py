"""`--sdm apptainer`: steps run in the image that HISTOGENESIS_IMAGE names; whether there is one makes nothing run again.

A container runtime is not to be had here. In its place stands a script that takes what Snakemake gives `apptainer exec`, notes
the image, and runs the command without what Python was told outside.
"""

import os
import sys
from pathlib import Path

import pytest

from .conftest import Run

pytestmark = pytest.mark.workflow
PHANTOM = "results/test-harb/phantoms/phantom_a.tif"
STANDIN = """#!/bin/sh
if [ "$1" = --version ]; then echo apptainer version 1.3.0; exit; fi
while [ "$1" != bash ]; do last=$1; shift; done
echo "$last" >> "{folder}/images"
exec env -u PYTHONPATH "$@"
"""


@pytest.fixture
def environment(tmp_path) -> dict[str, str]:
    """That of a user who has an apptainer and an image."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/apptainer").write_text(STANDIN.format(folder=tmp_path))
    (tmp_path / "bin/apptainer").chmod(0o755)
    image = tmp_path / "all.sif"
    image.touch()
    path = [str(tmp_path / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]
    return {"PATH": os.pathsep.join(path), "HISTOGENESIS_IMAGE": str(image)}


def test_steps_run_in_the_image_and_nothing_reruns_because_of_it(environment, root, tmp_path):
    run, recipe = Run(root, tmp_path), "config/test/harb.yaml"
    run.run(recipe, "--sdm", "apptainer", "--", PHANTOM, **environment)
    assert (tmp_path / PHANTOM).exists()
    assert (tmp_path / "images").read_text().splitlines() == [environment["HISTOGENESIS_IMAGE"]]
    assert run.planned(recipe, "--", PHANTOM) == {}, "no image, no container"
    assert run.planned(recipe, "--sdm", "apptainer", "--", PHANTOM, **environment) == {}


def test_without_an_image_no_rule_knows_of_one(environment, root, tmp_path):
    del environment["HISTOGENESIS_IMAGE"]
    Run(root, tmp_path).run("config/test/harb.yaml", "--sdm", "apptainer", "--", PHANTOM, **environment)
    assert (tmp_path / PHANTOM).exists() and not (tmp_path / "images").exists()
