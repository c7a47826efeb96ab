"""Files between the steps that rot: named, set aside and made again (histogenesis/provenance/whole.py).

Snakemake asks whether a file is there and how old it is, and no more. So of what a job has written the digests are noted in
results/{run}/state/whole, and compared when a run starts, before a job reads it, and when all jobs have ended. What is not what was
written is moved to state/damaged; then it is missing, and its rule runs again.
"""

import snakemake.executors.local
import snakemake.io
import snakemake.jobs
import snakemake.persistence
import snakemake.workflow
from histogenesis.core.files import write_text as write_log
from histogenesis.provenance import whole

DAMAGED = {}  # of a look at the run that changes nothing: output that a run would make again -> wildcards


def mend_first(flow, *args, prepare=snakemake.workflow.Workflow._prepare_dag, **options):
    """Before jobs are planned: a run sets aside what is damaged; a dry run, and each other look, says it and plans as if it had.

    Snakemake leaves a file that is missing alone where what was made of it is there. Of what is owed that is no longer true.
    """
    if flow.executor_plugin is not None and not flow.dryrun:
        for line in whole.heal(Path(RUN)):
            logger.warning(line)
    else:
        for file, wrong, mark in whole.damage_in(Path(RUN)):
            logger.warning(
                f"{file}: damaged: {wrong}; a run moves it away and makes it again, with what follows from it"
            )
            DAMAGED[f"{RUN}/{mark['output']}"] = mark["wildcards"]
    prepare(flow, *args, **options)
    flow.dag.forcefiles.update(lacking())


async def is_there(file, exists=snakemake.io._IOFile.exists_local):
    return str(file) not in DAMAGED and await exists(file)


if workflow.is_main_process:
    snakemake.workflow.Workflow._prepare_dag = mend_first
    snakemake.io._IOFile.exists_local = is_there


def lasting(job):
    """The outputs of a job of this run that stay."""
    return [str(f) for f in job.output if f not in job.temp_output and str(f).startswith(f"{RUN}/")]


def look_before(executor, job, run_func, *args, run=snakemake.executors.local.Executor.cached_or_run):
    """A job that would read damage fails with a line that says so. It is not tried again (retries.smk): the file is gone."""
    if lines := whole.damage_to(Path(RUN), [str(f) for f in job.input if str(f).startswith(f"{RUN}/")]):
        for path in job.log:
            write_log(str(path), "".join(f"error: {line}\n" for line in lines))
        raise WorkflowError(*lines)
    return run(executor, job, run_func, *args)


def take_back(persistence, job, *args, begin=snakemake.persistence.PersistenceBase.started):
    begin(persistence, job, *args)
    if outputs := lasting(job):
        whole.take_back(Path(RUN), outputs)


async def vouch(persistence, job, end=snakemake.persistence.PersistenceBase.finished):
    if not getattr(job, "has_failed", False) and (outputs := lasting(job)):
        whole.vouch(Path(RUN), job.rule.name, dict(job.wildcards_dict), outputs, map(str, job.input))
    await end(persistence, job)


async def remember_failure(job, *args, error=False, end=snakemake.jobs.Job.postprocess, **kwargs):
    job.has_failed = error
    await end(job, *args, error=error, **kwargs)


snakemake.executors.local.Executor.cached_or_run = look_before
snakemake.persistence.PersistenceBase.started = take_back
snakemake.persistence.PersistenceBase.finished = vouch
snakemake.jobs.Job.postprocess = remember_failure


def refuse_damage():
    """When all jobs have ended well: what they were to make is there, and what the run holds is what was written."""
    made = [name for job in workflow.dag.needrun_jobs(exclude_finished=False) for name in lasting(job)]
    if lines := [*whole.missing_of(made), *whole.heal(Path(RUN))]:
        raise WorkflowError("All jobs ended well, and then this was found. Start again, and it is mended:", *lines)
