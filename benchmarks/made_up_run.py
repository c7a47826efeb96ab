"""Snakemake, which in place of a plan makes up all that it planned: files, its own notes of them and the workflow's (plan.py).

With SETTLE in the environment the steps of slides are made without their jobs, which for 20,000 slides would take many minutes.
Snakemake's notes of these are empty: of what is settled it reads none (rules/settled.smk).
"""

import json
import os
import sys
from pathlib import Path

from snakemake.cli import main
from snakemake.dag import DAG

# As large as what is not read when a project is planned.
LARGE = {".h5": 1_100_000, ".safetensors": 200_000_000, ".tif": 200_000_000}
os.fsync = lambda file: None  # nothing here need outlive a power cut


def make(path):
    if not path.suffix:
        return path.mkdir(parents=True, exist_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.parent.name == "slides":
        path.write_text(json.dumps({"slide": path.stem, "error": None, "width_px": 50_000, "height_px": 40_000}))
    else:
        with open(path, "wb") as file:
            file.truncate(LARGE.get(path.suffix, 1000))


def settle(workflow):
    """All steps of slides, as if each had run and been asked."""
    rules, known = workflow.globals, {}
    for slide in rules["SLIDES"]:
        for step, wildcards, _ in rules["steps_of"](slide):
            outputs, benchmark = rules["files_of_step"](step, wildcards)
            for file in [*outputs, *filter(None, [benchmark])]:
                make(Path(file))
            for file in outputs:
                note = Path(workflow.persistence._record_path(".snakemake/metadata", file))
                note.parent.mkdir(parents=True, exist_ok=True)
                note.touch()
            rules["whole"].vouch(Path(rules["RUN"]), step, wildcards, outputs)
        for step, state, outputs in rules["states_of"](slide):
            known[step], rules["Memory"].outputs[step] = state.digest, outputs
    rules["write_settled"](rules["SETTLED"], rules["about"](workflow), known)


async def init_and_make(dag, *args, init=DAG.init, **options):
    if os.environ.get("SETTLE") and "Memory" in dag.workflow.globals:
        settle(dag.workflow)
    await init(dag, *args, **options)
    dag.workflow.iocache.deactivate()
    for level in dag.toposorted():
        for job in level:
            for path in map(Path, [*job.output, *filter(None, [job.benchmark])] if job.output else []):
                make(path)
            await dag.workflow.persistence.finished(job)


DAG.init = init_and_make
main(sys.argv[1:])
