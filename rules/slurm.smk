"""Three things that Snakemake's SLURM plugin leaves to chance: submissions that SLURM refuses for now, jobs that it forgets, and
sites that give GPUs by --gres alone.

A refused submission waits, as a job in the queue would, and uses up no retry. A job's state is asked for before SLURM
forgets it (MinJobAge); of one that it has forgotten nevertheless, accounting is asked, and then the job's own log.
"""

import functools
import re
import threading

import snakemake_executor_plugin_slurm as plugin
from snakemake_executor_plugin_slurm.job_status_query import get_min_job_age

FOR_NOW = re.compile(
    "MaxSubmitJob|Unable to contact slurm controller|Socket timed out|temporarily unable to accept|Connection refused"
    "|Connection timed out|Zero Bytes were transmitted|Communication connection failure|Transport endpoint is not connected"
    "|Resource temporarily unavailable|Unable to resolve",
)
PAUSE_S = 20
told_of_refusal = set()
ended = threading.Event()  # Snakemake cancels its jobs, or is done


def submitted(run_job):
    """What was waiting when Snakemake was stopped is not submitted any more."""

    def run(self, job):
        if ended.is_set():
            self._report_job_error_threadsafe(plugin.SubmittedJobInfo(job), "not submitted: Snakemake was stopped")
        else:
            run_job(self, job)

    return run


def refused(tell):
    """Called with SLURM's words, in a thread that submits: what it refuses for now is submitted again after a pause."""

    def wait_or_tell(self, job_info, msg):
        words = FOR_NOW.search(msg) if "sbatch failed" in msg else None
        if words and not ended.is_set():
            if id(job_info.job) not in told_of_refusal:
                told_of_refusal.add(id(job_info.job))
                self.logger.info(f"SLURM takes no job of {job_info.job.name} for now ({words[0]}): it is asked again")
            if not ended.wait(PAUSE_S):
                self._job_submission_executor.submit(self.run_job, job_info.job)
                return
        if job_info.job.is_group():  # of which Snakemake says that it failed, and not why
            self.logger.error(msg)
        tell(self, job_info, msg)

    return wait_or_tell


def ends(method):
    def stop(self, *arguments):
        ended.set()
        return method(self, *arguments)

    return stop


class States:
    """Answers the plugin's question for the states of its jobs: SLURM's first word, and for each forgotten job an end."""

    def __init__(self, check_active_jobs, query):
        self.check, self.query, self.jobs, self.missed = check_active_jobs, query, {}, {}

    def checking(self):
        async def check_active_jobs(executor, active_jobs):
            self.jobs = {job.external_jobid: job for job in active_jobs}
            async for job in self.check(executor, active_jobs):
                yield job

        return check_active_jobs

    async def ask(self, command, logger):
        states, seconds = await self.query(command, logger)
        if states is None:  # SLURM did not answer: nothing is known, so nothing has ended
            return None, None
        known = {job: state.split()[0] for job, state in states.items() if state}
        gone = [job for job in self.jobs if job not in known and job.split("_")[0] not in known]
        self.missed = {job: self.missed.get(job, 0) + 1 for job in gone}
        if twice := [job for job, times in self.missed.items() if times > 1]:
            accounted, _ = await self.query(
                f"sacct -X --parsable2 --noheader --format=JobIdRaw,State --jobs {','.join(twice)}", logger
            )
            for job in twice:
                known[job] = (accounted or {}).get(job, "").split(" ")[0] or self.last_word(job)
                logger.info(f"SLURM has forgotten job {job}; it is taken for {known[job]}")
        return known, seconds

    def last_word(self, job):
        """The state that a job's own log tells of: Snakemake's last line in it says that all is done."""
        log = self.jobs[job].aux.get("slurm_logfile")
        try:
            done = "(100%) done" in log.read_text(errors="replace")[-2000:]
        except (OSError, AttributeError):
            done = False
        return "COMPLETED" if done else "FAILED"


def by_gres(words):
    """`--gpus=a100:2` as `--gres=gpu:a100:2`, for sites that want it so: the profile's default-resources gpu_flag: gres."""

    def flags(job):
        found = words(job)
        return re.sub(r"--gpus=", "--gres=gpu:", found) if job.resources.get("gpu_flag") == "gres" else found

    return flags


@functools.cache
def longest_pause_s():
    """Between two questions; the plugin itself goes up to 180 s."""
    return max(2, (get_min_job_age() or 300) // 3)


if not hasattr(plugin.Executor, "asks_for_states"):
    executor, states = plugin.Executor, States(plugin.Executor.check_active_jobs, plugin.query_job_status)
    executor.asks_for_states = states
    executor.run_job = submitted(executor.run_job)
    executor._report_job_error_threadsafe = refused(executor._report_job_error_threadsafe)
    executor.cancel_jobs, executor.shutdown = ends(executor.cancel_jobs), ends(executor.shutdown)
    executor.check_active_jobs = states.checking()
    plugin.query_job_status = states.ask
    plugin.set_gres_string = by_gres(plugin.set_gres_string)
    if "next_seconds_between_status_checks" not in vars(executor):
        pause = executor.next_seconds_between_status_checks
        executor.next_seconds_between_status_checks = property(
            pause.fget, lambda self, seconds: pause.fset(self, min(seconds, longest_pause_s()))
        )
