"""A run through SLURM that is done, then code that fails, then the code as it was: what is owed is planned until it is made."""

import shutil

import pytest
import yaml
from harb import WORKFLOW, last_job, show, since

pytestmark = [pytest.mark.slurm, pytest.mark.long]

RECIPE = "config/test/again.yaml"
FOLLOWING = {"train_model", "draw_level", "stitch_slide"}


@pytest.fixture
def folder(root, tmp_path):
    """A copy of the workflow, and a recipe of one model and one slide of one level, of which nothing is measured."""
    for name in WORKFLOW:
        copy = shutil.copytree if (root / name).is_dir() else shutil.copy2
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        copy(root / name, tmp_path / name)
    harb = yaml.safe_load((root / "config/test/harb.yaml").read_text())
    harb["synthetic"].update(slides=1, levels=harb["synthetic"]["levels"][:1])
    harb |= {"run": "again", "evaluation": {"enabled": False}}
    (tmp_path / RECIPE).write_text(yaml.safe_dump(harb))
    return tmp_path


def test_a_failed_rerun_is_owed_and_only_it_and_what_follows_are_made_again(folder, cluster, snakemake):
    log, code = folder / "snakemake.log", folder / "src/histogenesis/models/training.py"

    def run(*arguments: str) -> tuple[int, str, list[dict]]:
        """Exit code, what Snakemake says, SLURM's jobs."""
        before, said = last_job(cluster), log.stat().st_size if log.exists() else 0
        process = snakemake(folder, "--configfile", RECIPE, *arguments, profile="slurm")
        returncode = process.wait(1800)
        jobs = since(cluster, before)
        show(jobs)
        return returncode, log.read_text()[said:], jobs

    def rules(jobs: list[dict]) -> set[str]:
        return {job["Comment"].removeprefix("rule_").split("_wildcards")[0] for job in jobs}

    returncode, text, jobs = run()
    assert returncode == 0, text[-6000:]
    assert rules(jobs) > FOLLOWING and any(name.startswith("slides_") for name in rules(jobs))
    assert "Nothing to be done" in run("--dry-run")[1]

    whole = code.read_text()
    code.write_text(whole + "\nraise RuntimeError('broken by a test')\n")
    returncode, text, jobs = run("--retries", "0")
    assert returncode == 1 and "broken by a test" in text, text[-6000:]
    assert [job["State"] for job in jobs] == ["FAILED"] and rules(jobs) == {"train_model"}
    assert not (folder / "results/again/models/shared/model.safetensors").exists(), "as Snakemake leaves it"

    for text_of_code in (code.read_text(), whole):
        code.write_text(text_of_code)
        returncode, text, _ = run("--dry-run")
        assert returncode == 0 and "rule train_model:" in text and "rule write_report:" in text, text[-6000:]

    returncode, text, jobs = run()
    assert returncode == 0, text[-6000:]
    assert "train_model" in rules(jobs) <= FOLLOWING and {job["State"] for job in jobs} == {"COMPLETED"}
    assert (folder / "results/again/models/shared/model.safetensors").exists()
    assert "Nothing to be done" in run("--dry-run")[1]
