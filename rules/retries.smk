"""Retries: a crash is tried again, with more memory; a job out of time goes on; what was refused is not tried again."""

import signal

import snakemake.jobs

# SLURM's warning before the time limit reaches every process of a job. It is meant for the scripts, which save their state
# and requeue the job (histogenesis/core/interrupt.py); it must not end Snakemake, or the shell, which inherits this.
signal.signal(signal.SIGUSR1, signal.SIG_IGN)


def was_refused(job):
    """Whether the job's log ends in one line `error: ...`: bad input, or a training that diverged. Another try ends alike."""
    for path in job.log:
        try:
            lines = Path(path).read_bytes()[-4096:].replace(b"\r", b"\n").rstrip().split(b"\n")
        except OSError:  # not written, or not visible from here
            continue
        if lines[-1].startswith(b"error: "):
            return True
    return False


# Snakemake asks this property after a failure. It offers nothing else that could tell one failure from another.
snakemake.jobs.Job.restart_times = property(lambda job: 0 if was_refused(job) else job.rule.restart_times)
# Nor a group in which a job was refused; Snakemake would go by the most patient of its jobs.
snakemake.jobs.GroupJob.restart_times = property(lambda group: min(job.restart_times for job in group.jobs))
