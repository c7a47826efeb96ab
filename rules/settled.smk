"""Steps of slides that need not run are not planned again: with 20,000 slides most of what planning takes.

Of a step that Snakemake has found to be up to date, or that has just run, a digest of all that decides on it is noted in
results/{run}/state/settled.json (histogenesis/provenance/settled.py). While it is the same, and those of the steps before it are,
what the step wrote is planned with as files that no rule makes. In each case of doubt every step is asked, as with few slides.
"""

import hashlib

import snakemake.workflow
from histogenesis.provenance.settled import read_settled, state_of, write_settled
from snakemake.dag import DAG
from snakemake.io import strip_wildcard_constraints
from snakemake.iocontainers import Wildcards
from snakemake.persistence.file import FilePersistence
from snakemake.settings.types import RerunTrigger

FEW = 500  # slides, which are planned in seconds
IS_OURS = workflow.modifier.is_main_snakefile()  # and not a module of another workflow, whose rules may be others
SETTLED = STATE / "settled.json"
CUT_BY = {"slides": "cut_patches", "regions": "cut_regions"}  # kind of a patch set -> what makes it of a slide


class Memory:
    """Of one plan. about: the workflow that the answers hold for; None where nothing is remembered."""

    about = None
    known = {}  # step -> digest with which it need not run
    found = {}  # step -> its state as the plan begins
    outputs = {}  # step that is not planned -> what it wrote


def steps_of(slide):
    """The steps of a slide: rule, wildcards, and whether the next come after it."""
    yield "register_slide", {"slide": slide}, True
    yield "segment_tissue", {"slide": slide}, True
    for name, patches in RECIPE.patches.items():
        if cutter := CUT_BY.get(patches.kind):
            yield cutter, {"patch_set": name, "slide": slide}, False


def step_name(rule, wildcards):
    return " ".join([rule, *(wildcards[name] for name in sorted(wildcards))])


@functools.cache
def patterns(rule):
    """Outputs of a rule and, the last, its benchmark."""
    maker = workflow.get_rule(rule)
    return [strip_wildcard_constraints(str(file)) for file in [*maker.output, maker.benchmark or ""]]


def files_of_step(rule, wildcards):
    *outputs, benchmark = (pattern.format(**wildcards) for pattern in patterns(rule))
    return outputs, benchmark


def compared_params(rule, wildcards):
    """As Snakemake records them (PersistenceBase._params)."""
    wildcards, maker = Wildcards(fromdict=wildcards), workflow.get_rule(rule)
    params = (param for param in maker.params if not maker._is_deriving_function(param))
    return [repr(param(wildcards) if callable(param) else param) for param in params]


def states_of(slide):
    """(step, its state, its outputs) of the steps of a slide, in their order; None from the first on of which Snakemake is asked."""
    notes, above, is_known = workflow.persistence, None, True
    for rule, wildcards, leads in steps_of(slide):
        outputs, benchmark = files_of_step(rule, wildcards)
        state = None
        if is_known and not notes._filter_incomplete_keys(outputs):
            records = [notes._record_path(notes._metadata_path, file) for file in outputs]
            state = state_of(compared_params(rule, wildcards), outputs, records, benchmark, above)
        yield step_name(rule, wildcards), state, outputs
        if leads:
            above, is_known = state, state is not None


def is_plain(flow):
    """Whether a plan is for a run or a dry run of what is asked for by rules' names, with nothing forced or left out."""
    options, dag = flow.dag_settings, flow.dag
    other = [options.forceall, options.forcetargets, options.forcerun, options.until, options.omit_from, options.batch]
    other += [options.allowed_rules, options.target_jobs, dag.targetfiles, flow.workflow_settings.consider_ancient]
    other += [ACCEPT_MISSING, flow.touch, RerunTrigger.SOFTWARE_ENV in flow.rerun_triggers]
    other += [flow.storage_settings.default_storage_provider, not isinstance(flow.persistence, FilePersistence)]
    return IS_OURS and flow.executor_plugin is not None and not any(other)


def about(flow):
    """A digest of the workflow's files and of what tells Snakemake how to decide."""
    digest = hashlib.sha256(snakemake.__version__.encode())
    digest.update(repr([sorted(map(str, flow.rerun_triggers)), flow.dag_settings.max_checksum_file_size]).encode())
    for file in flow.linemaps:
        digest.update(Path(file).read_bytes())
    return digest.hexdigest()


def remember_first(flow, *args, prepare=snakemake.workflow.Workflow._prepare_dag, **options):
    """Before jobs are planned, and after damage was set aside (whole.smk): which steps need not be."""
    is_first = flow._dag is None  # and not that of a report after the run, which shows what steps wrote
    prepare(flow, *args, **options)
    Memory.about, Memory.known, Memory.found, Memory.outputs = None, {}, {}, {}
    slides = [slide for slide in SLIDES if slide not in PHANTOMS]
    if len(slides) < FEW or not is_first or not is_plain(flow):
        return
    Memory.about = about(flow)
    Memory.known = read_settled(SETTLED, Memory.about)
    for slide in slides:
        is_settled = True  # of the steps so far that lead to the next
        for (_, _, leads), (step, state, outputs) in zip(steps_of(slide), states_of(slide)):
            Memory.found[step] = state
            forced = not flow.dag.forcefiles.isdisjoint(outputs)
            own = is_settled and state is not None and Memory.known.get(step) == state.digest and not forced
            if own:
                Memory.outputs[step] = outputs
            is_settled = own if leads else is_settled
    if Memory.outputs:
        logger.info(f"{len(Memory.outputs)} steps of slides are up to date as they were, and not planned again.")


async def update_but_settled(graph, *args, known_producers=None, update=DAG.update, **options):
    """Snakemake looks for no rule that makes what it knows to have none."""
    if known_producers is None:
        known_producers = dict.fromkeys(file for outputs in Memory.outputs.values() for file in outputs)
    return await update(graph, *args, known_producers=known_producers, **options)


def step_of(job):
    """The name of a job's step, if it is one that may be settled."""
    if job.rule.name in ("register_slide", "segment_tissue", *CUT_BY.values()):
        return step_name(job.rule.name, job.wildcards_dict)
    return None


async def init_and_note(graph, *args, init=DAG.init, **options):
    """A dry run notes nothing: it is a look, which changes no file."""
    await init(graph, *args, **options)
    if Memory.about and not graph.workflow.dryrun:
        note_settled({step_of(job) for job in graph.jobs if not graph.needrun(job)}, Memory.found)


def note_settled(steps, states):
    """Of steps that need not run: with which state. What is known of others that may come again, stays."""
    new = {step: states[step].digest for step in steps if states.get(step)}
    known = {step: digest for step, digest in Memory.known.items() if step in Memory.found} | new
    if known != Memory.known:
        write_settled(SETTLED, Memory.about, dict(sorted(known.items())))
        Memory.known = known


def note_made():
    """When all jobs have ended well: those that ran need not run again, if what they read is older than what they wrote."""
    if not Memory.about:
        return
    made = [job for job in workflow.dag.needrun_jobs(exclude_finished=False) if step_of(job) in Memory.found]
    states, current = {}, set()
    for slide in {job.wildcards.slide for job in made}:
        above = None
        for (_, _, leads), (step, state, _) in zip(steps_of(slide), states_of(slide)):
            states[step] = state
            if state and (above is None or above.newest <= state.oldest):
                current.add(step)
            above = state if leads else above
    note_settled(current & {step_of(job) for job in made}, states)


if workflow.is_main_process:
    snakemake.workflow.Workflow._prepare_dag = remember_first
    DAG.update, DAG.init = update_but_settled, init_and_note
