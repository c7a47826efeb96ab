"""The workflow as a module of another one, from a folder and from a git repository: the results are the same.

What a colleague has is a Snakefile and a recipe of a few lines, in a folder that knows nothing of where histogenesis lies.
"""

import re
import shutil
import subprocess
from base64 import urlsafe_b64encode

import pytest

from .conftest import Run
from .lab import PARTS

pytestmark = pytest.mark.workflow
RECIPE = """
extends: test/harb.yaml
run: mine
slides:
  phantoms:
    - {name: a, seed: 1, width_mm: 1.2, height_mm: 1.0, mpp: 2}
    - {name: b, seed: 2, width_mm: 1.2, height_mm: 1.0, mpp: 2}
"""
CUT = "results/mine/patches/main/a.h5"


@pytest.fixture(scope="module")
def repository(root, tmp_path_factory):
    """A git repository with one commit of the workflow; and a file that is in no commit, so that a module which looked past
    the repository would be found out."""
    folder = tmp_path_factory.mktemp("repository")
    for part in PARTS:
        copy = shutil.copytree if (root / part).is_dir() else shutil.copy2
        copy(root / part, folder / part)
    git = ["git", "-C", str(folder), "-c", "user.name=test", "-c", "user.email=test@example.org"]
    for words in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "all"]):
        subprocess.run([*git, *words], check=True)
    (folder / "src/histogenesis/recipe/extending.py").write_text("raise SystemExit('not what was committed')\n")
    return folder


@pytest.fixture
def colleague(tmp_path):
    """A folder whose workflow has histogenesis as a module; gives what runs it."""

    def set_up(snakefile: str, rename: str = "") -> Run:
        (tmp_path / "config").mkdir()
        (tmp_path / "config/own.yaml").write_text(RECIPE)
        (tmp_path / "Snakefile").write_text(
            f'configfile: "config/own.yaml"\n\n\nmodule histogenesis:\n    snakefile:\n        {snakefile}\n'
            f"    config:\n        config\n\n\nuse rule * from histogenesis{rename}\n"
        )
        return Run(tmp_path, tmp_path)

    return set_up


def planned(run: Run, *arguments: str) -> dict[str, int]:
    return run.count(run.snakemake("--cores", "2", "--dry-run", *arguments).stdout)


@pytest.fixture(scope="module")
def expected(root, tmp_path_factory):
    """What the workflow itself plans for the recipe."""
    folder = tmp_path_factory.mktemp("itself")
    (folder / "own.yaml").write_text(RECIPE)
    return Run(root, folder).planned(folder / "own.yaml")


def test_from_a_folder(colleague, root, expected):
    assert expected["cut_patches"] == 2 and expected["draw_level"] == 6
    assert planned(colleague(f'"{root}/Snakefile"')) == expected


def test_its_rules_may_have_another_name(colleague, root, expected):
    found = planned(colleague(f'"{root}/workflow/Snakefile"', " as synthetic_*"))
    assert {name.removeprefix("synthetic_"): count for name, count in found.items()} == {**expected, "all": 1}


def test_from_a_repository_it_plans_and_runs_what_was_committed(colleague, root, repository, expected):
    (named,) = re.findall(r"\"git\+file://.*\"", (root / "docs/module.md").read_text())  # as the page has it
    assert named in (root / "workflow/Snakefile").read_text()
    run = colleague(named.replace("/path/to/histogenesis", str(repository)))
    assert planned(run) == expected
    run.snakemake("--cores", "2", CUT)
    assert (run.folder / CUT).exists()
    code = list((run.folder / ".histogenesis/code").iterdir())
    assert [len(path.name) for path in code] == [40], "one commit, unpacked once"
    assert "not what was committed" not in (code[0] / "src/histogenesis/recipe/extending.py").read_text()
    before = planned(run, CUT)
    assert before == {}, "nothing more to do"


def test_what_a_killed_run_left_half_written_is_made_again_though_no_profile_says_so(colleague, root):
    """Snakemake marks what a job writes until that has ended: so a kill leaves the mark and the file."""
    run, phantom = colleague(f'"{root}/Snakefile"'), "results/mine/phantoms/a.tif"
    run.snakemake("--cores", "1", phantom)
    mark = run.folder / ".snakemake/incomplete" / urlsafe_b64encode(phantom.encode()).decode()
    mark.write_text('{"external_jobid": null}')
    done = run.snakemake("--cores", "1", "--workflow-profile", "none", phantom)
    assert run.count(done.stderr) == {"make_phantom": 1} and not mark.exists()


def test_a_recipe_that_extends_what_is_not_there_ends_in_one_line(colleague, root):
    run = colleague(f'"{root}/Snakefile"')
    (run.folder / "config/own.yaml").write_text("extends: absent.yaml\nrun: mine\n")
    done = run.snakemake("--dry-run", check=False)
    said = done.stdout + done.stderr
    assert done.returncode != 0 and "extends: there is no absent.yaml in" in said and "Traceback" not in said
