"""The other three methods through a SLURM whose GPUs are on a node of their own: each step where it belongs, to the report.

`harb`, with all that can happen to a run, is in test_harb.py.
"""

import pytest
from harb import last_job, show, since

from workflow.test_studies import kaggle, tiles

pytestmark = [pytest.mark.slurm, pytest.mark.long]

WITH_GPU = {
    "urcdm": {"train_model", "draw_level", "extract_features"},
    "son": {"train_model", "draw_samples"},
    "diffusion4path": {"train_model", "draw_samples", "measure_utility"},
}


@pytest.mark.parametrize("name", WITH_GPU)
def test_each_step_runs_where_its_gpu_is(name, cluster, snakemake, root, tmp_path):
    kaggle(tmp_path / "pcam")
    tiles(tmp_path / "tiles")
    before = last_job(cluster)
    words = ["--snakefile", str(root / "Snakefile"), "--configfile", str(root / f"config/test/{name}.yaml")]
    process = snakemake(tmp_path, *words)
    assert process.wait(3000) == 0, (tmp_path / "snakemake.log").read_text()[-6000:]
    jobs = since(cluster, before)
    show(jobs)
    assert (tmp_path / f"results/test-{name}/report.html").exists()
    assert {job["State"] for job in jobs} == {"COMPLETED"}
    for job in jobs:
        assert (job["Partition"] == "gpu") == (int(job["tres"].get("gres/gpu", 0)) > 0), job
    ran = " ".join(job["Comment"] for job in jobs if job["Partition"] == "gpu")
    assert all(f"rule_{rule}" in ran for rule in WITH_GPU[name]), ran
