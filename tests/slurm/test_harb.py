"""The tiny `harb` recipe through a real SLURM, in peace, by `snakemake --profile slurm` typed in a copy of the repository.

What jobs had is read from accounting (sacct), never from the command that submitted them.
"""

from datetime import datetime

import pytest
from harb import HARB, RUN, SLIDES

pytestmark = [pytest.mark.slurm, pytest.mark.long]


def of(jobs: list[dict], rule: str) -> list[dict]:
    return [job for job in jobs if job["Comment"].startswith(f"rule_{rule}")]


def test_from_slides_to_report(finished):
    folder, jobs = finished
    assert (folder / RUN / "report.html").exists()
    assert all((folder / RUN / f"synthetic/{slide}.tif").exists() for slide in SLIDES)
    assert {job["State"] for job in jobs} == {"COMPLETED"}


@pytest.mark.parametrize(
    "rule, partition, gpus, minutes, cpus, least_mb",
    [
        ("train_model", "gpu", 1, 240, 1, 4000),
        ("draw_level", "gpu", 1, 240, 1, 4000),
        ("extract_features", "gpu", 1, 120, 1, 4000),
        ("evaluate_patches", "cpu", 0, 240, 1, 4000),
        ("stitch_slide", "cpu", 0, 10, 2, 1500),
        ("slides_", "cpu", 0, 40, 3, 6000),  # three slides at once, 2000 MB each
    ],
)
def test_each_job_had_what_its_rule_states(finished, rule, partition, gpus, minutes, cpus, least_mb):
    jobs = of(finished[1], rule)
    assert jobs
    for job in jobs:
        tres = job["tres"]
        assert (job["Partition"], int(tres.get("gres/gpu", 0)), int(tres["cpu"])) == (partition, gpus, cpus)
        assert int(job["TimelimitRaw"]) == minutes
        assert least_mb <= int(tres["mem"].removesuffix("M")) < least_mb + 100


def test_light_steps_are_no_entries_of_the_queue(finished):
    """The steps of all three slides (phantom, record, tissue, patches) are one job; the lightest run beside Snakemake."""
    _, jobs = finished
    assert [job["Comment"] for job in of(jobs, "slides_")] == [
        "rule_slides_cut_patches_make_phantom_register_slide_segment_tissue"
    ]
    names = " ".join(job["Comment"] for job in jobs if job not in of(jobs, "slides_"))
    steps = [
        "make_phantom",
        "register_slide",
        "segment_tissue",
        "cut_patches",
        "split_patients",
        "plan_tissue",
        "write_",
    ]
    assert not any(step in names for step in steps)


def test_two_slides_are_drawn_at_the_same_time_each_on_its_gpu(finished):
    first, second = (of(finished[1], f"draw_level_wildcards_{slide}_2") for slide in SLIDES)
    (first, second) = (first[0], second[0])
    times = {key: [datetime.fromisoformat(job[key]) for job in (first, second)] for key in ("Start", "End")}
    assert max(times["Start"]) < min(times["End"])
    assert first["tres"]["gres/gpu"] == second["tres"]["gres/gpu"] == "1"


def test_nothing_is_left_to_do(finished, snakemake):
    folder, _ = finished
    before = (folder / "snakemake.log").stat().st_size
    assert snakemake(folder, *HARB, "--dry-run", profile="slurm").wait(900) == 0
    assert "Nothing to be done" in (folder / "snakemake.log").read_text()[before:]
