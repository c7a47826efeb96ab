"""A step that has made the same bytes again is no reason to run what lies below it.

Snakemake plans all of that before it runs anything. So what is about to be made again is kept as links in results/{run}/state/before;
where a job's new outputs are its old ones, they get their old times back, and a job is passed over that would run for no other
reason than theirs. The links of what a failed run has deleted and not made stay until it is made: what lies below was made from that.
"""

import shutil

import snakemake.dag
from histogenesis.provenance.same import STAMP, files_of, link, same_content
from snakemake.logging import logger

BEFORE = STATE / "before"
LINKED = {}  # output -> the link to what it was
MADE = {}  # output -> when that was made
MENDED = {}  # output that was damaged -> file -> digest of what it was (whole.smk)
SAME = set()  # jobs that made the same again, or were passed over


def keep_links(jobs):
    """What these jobs are about to make again, and what they still owe; nothing where the file system has no links."""
    forget_links()
    MENDED.update(whole.remembered(Path(RUN)))
    for path in (Path(path) for job in jobs for path in job.output):
        try:
            if path.exists():
                link(path, BEFORE / path)
        except OSError:
            continue
        if (BEFORE / path).exists():
            LINKED[str(path)], MADE[str(path)] = BEFORE / path, time_of(BEFORE / path)


def forget_links():
    """All but those of what is still owed."""
    aside = BEFORE.with_name("before.owed")
    shutil.rmtree(aside, ignore_errors=True)
    for name in lacking():
        if (BEFORE / name).exists():
            os.renames(BEFORE / name, aside / name)
    shutil.rmtree(BEFORE, ignore_errors=True)
    if aside.exists():
        aside.rename(BEFORE)


def forget_links_of(job):
    """It has been made: what lies below is made from that, and what it was before counts no more."""
    for old in [LINKED.pop(str(path)) for path in job.output if str(path) in LINKED]:
        shutil.rmtree(old) if old.is_dir() else old.unlink()


def made_the_same(job):
    """Whether a job's outputs are what they were; then they have their old times, too."""
    pairs = [(LINKED.get(str(path)), Path(path)) for path in job.output if not whole.is_mended(Path(RUN), path, MENDED)]
    if not job.output or not all(old and new.exists() and same_content(old, new) for old, new in pairs):
        return False
    for old, new in pairs:
        give_times(job, old, new)
    return True


def time_of(path):
    """When a file, or a folder as Snakemake has it, was made."""
    stamp = Path(path, STAMP)
    return os.stat(stamp if stamp.exists() else path).st_mtime_ns


def read_by(job):
    """The inputs of a job whose times count."""
    return [file for file in job.input if not file.is_ancient and os.path.exists(file)]


def give_times(job, old, new):
    """To an output the times that it had, but none before that of what it is made from: the next run would make it again."""
    newest, kept = max(map(time_of, read_by(job)), default=0), files_of(old)
    newest = 0 if new.is_symlink() else newest  # to a file that other runs share (HISTOGENESIS_SHARED)
    for name, path in files_of(new).items():
        stat = kept[name].stat()
        os.utime(path, ns=(stat.st_atime_ns, max(stat.st_mtime_ns, newest)))
    whole.note_times(Path(RUN), new)


def is_older(job):
    """Whether an earlier run left a job behind: what is the same again was newer before than what the job had made."""
    newest = max((MADE.get(str(file), 0) for file in read_by(job)), default=0)
    return any(time_of(file) < newest for file in job.output if os.path.exists(file))


def is_needless(graph, job):
    """Whether a job would run for no other reason than that others have, all of which made the same again."""
    if job.is_group() or job.group is not None or job.rule.norun:
        return False
    reason = graph.reason(job)
    own = [reason.forced, reason.noio, reason.nooutput, reason.pipe, reason.service, reason.unfinished_queue_input]
    own += [reason.missing_output, reason.incomplete_output, reason.updated_input - reason.updated_input_run]
    own += [reason.params_changed, reason.code_changed, reason.input_changed, reason.software_stack_changed]
    above = [one for one in graph.dependencies[job] if graph.needrun(one)]
    return bool(reason.updated_input_run) and not any(own) and all(one in SAME for one in above) and not is_older(job)


finish, update_ready = snakemake.dag.DAG.finish, snakemake.dag.DAG.update_ready


async def finish_and_compare(graph, job, **options):
    for one in job if job.is_group() else [job]:
        if made_the_same(one):
            SAME.add(one)
        forget_links_of(one)
    return await finish(graph, job, **options)


def update_ready_and_pass_over(graph, jobs=None):
    """A job is asked once, as it becomes ready: then all above it has ended. Of 20,000 that wait none is asked again."""
    asked = list(graph.needrun_jobs() if jobs is None else jobs)
    ready = update_ready(graph, asked)
    while asked:
        job = asked.pop()
        if job not in graph.ready_jobs or not is_needless(graph, job):
            continue
        logger.info(f"Passed over: {job.rule.name} ({job.output[0]}): what it is made from is what it was.")
        for path in (Path(path) for path in (*job.output, job.benchmark) if path and os.path.exists(path)):
            give_times(job, path, path)  # Snakemake takes a benchmark for an output, too
        graph.ready_jobs.discard(job)
        graph.reason(job).mark_finished()
        graph._finished.add(job)
        workflow.scheduler.finished_jobs += 1
        SAME.add(job)
        below = [one for one in graph.depending[job] if graph.needrun(one) and not graph.in_until(one)]
        for one in below:
            graph._n_until_ready[one] -= 1
        ready |= update_ready(graph, below)
        asked += below
    return ready


snakemake.dag.DAG.finish = finish_and_compare
snakemake.dag.DAG.update_ready = update_ready_and_pass_over
