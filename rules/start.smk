"""What a run does when it starts and when it has ended: what jobs read, what is owed, and who is at work on it.

Snakemake deletes the outputs of a job before it runs and after it fails, and takes a finished report for all that was asked for.
So results/{run}/unfinished.json names what a run set out to make, and until that is there the next run has it among its targets.
"""

import ast
import atexit
import itertools

import yaml
from histogenesis.core.files import write_text
from histogenesis.provenance.started import begin, claim, forget, have_alone, owed, write_json
from snakemake.dag import DAG


def still_claims(recipe_file):
    """Whether another recipe file says that its run is this one."""
    try:
        return yaml.safe_load(Path(recipe_file).read_text()).get("run") == RECIPE.run
    except (OSError, yaml.YAMLError, AttributeError):
        return False


def still_made(wildcards):
    """Whether what was owed belongs to the recipe as it is now."""
    known = {
        "slide": {*SLIDES, *SYNTHETIC},
        "patch_set": RECIPE.patches,
        "model": RECIPE.models,
        "samples": RECIPE.samples,
        "reading": RECIPE.reading,
        "encoder": ENCODERS,
        "k": list(map(str, range(len(LEVELS)))),
    }
    return all(value in known.get(name, [value]) for name, value in wildcards.items())


def lacking():
    """What a run that did not end has still to make, and what is made again because it was damaged."""
    found = owed(Path(RUN)) | whole.to_be_healed(Path(RUN)) | DAMAGED
    return [name for name, wildcards in found.items() if still_made(wildcards)]


def owed_outputs(wildcards):
    return lacking() if workflow.is_main_process else []


def outputs_of(rule, **wildcards):
    return expand(list(map(str, getattr(rules, rule).output)), **wildcards)


def kept_outputs():
    """Every file that stays in results/{run}, but patches and features, which may be deleted to make room: a target each."""
    kept = [f"{RUN}/report.html", f"{RUN}/recipe.yaml"]
    if any(patches.from_slides for patches in RECIPE.patches.values()) or (SLIDES and not RECIPE.patches):
        kept += outputs_of("split_patients")
    kept += outputs_of("register_slide", slide=SLIDES) + outputs_of("segment_tissue", slide=SLIDES)
    kept += outputs_of("take_model", model=TAKEN)
    kept += outputs_of("train_model", model=[*RECIPE.trained_models, *RECIPE.winner_models])
    kept += outputs_of("draw_samples", samples=RECIPE.drawn_samples)
    kept += outputs_of("take_samples", samples=RECIPE.brought_samples)
    kept += outputs_of("measure_reconstruction", model=RECIPE.autoencoders if RECIPE.evaluation.enabled else [])
    kept += outputs_of("evaluate_samples", samples=RECIPE.evaluated_samples)
    kept += outputs_of("measure_utility", samples=OF_USE)
    kept += outputs_of("train_on_real", patch_set={RECIPE.compared_with(samples) for samples in OF_USE})
    if RECIPE.study:
        kept += outputs_of("gather_study")
    kept += outputs_of("make_reading", reading=RECIPE.reading) + outputs_of("analyse_reading", reading=READ)
    if SYNTHETIC:
        kept += expand(f"{RUN}/synthetic/{{slide}}/level{{k}}.h5", slide=SYNTHETIC, k=range(len(LEVELS)))
        for step in ("plan_tissue", "stitch_slide"):
            kept += outputs_of(step, slide=SYNTHETIC)
    if JUDGED:
        for step in ("measure_coherence", "draw_contact_sheet"):
            kept += outputs_of(step, slide=JUDGED)
        kept += outputs_of("evaluate_patches")
    away = Path(RUN, "left_out.json")  # of a run that was handed on without what shows real tissue
    left_out = json.loads(away.read_text()) if away.exists() else []
    left_out = {*left_out, *(str(folder) for name in left_out for folder in Path(name).parents)}
    return [name for name in kept if name not in left_out]


def what_is_planned():
    """What jobs read in place of working it out again."""
    return {
        "contents": PRESENT | AWAY,
        "code": {path.name: code(path.name) for path in sorted((HOME / "workflow/scripts").glob("[a-z]*.py"))},
        "environments": {name: environment(name) for name in ("slides", "torch", "evaluation")},
    }


def set_out():
    """When jobs begin: who is at work here, what jobs read, and what is owed from now on."""
    jobs = [job for job in workflow.dag.needrun_jobs() if job.output]
    refuse_less(jobs)
    refuse_forgotten()
    try:
        stop_on(FOUND)
        recipes = [os.path.relpath(path) for path in workflow.configfiles]
        claim(Path(RUN), recipes[-1] if recipes else None, still_claims)
        have_alone(Path(RUN))
    except BadInput as error:
        raise WorkflowError(str(error)) from None
    write_text(STATE / "recipe.json", recipe_text(RECIPE))
    write_json(STATE / "slides.json", {name: row.model_dump(mode="json") for name, row in SLIDES.items()})
    write_json(STATE / "planned.json", what_is_planned())
    write_json(REMEMBERED, PRESENT | AWAY)
    before = {} if ACCEPT_MISSING else read_json(COUNTED) or {}
    now = {name: len(paths) for name, paths in user_files().items()}
    write_json(COUNTED, now | {name: before[name] for name in AWAY if name in before})
    for path in itertools.chain.from_iterable(job.log for job in jobs):
        Path(path).unlink(
            missing_ok=True
        )  # an old run's last word is not that of a job that says nothing (retries.smk)
    keep_links(jobs)
    begin(Path(RUN), {str(f): dict(job.wildcards) for job in jobs for f in job.output if f not in job.temp_output})
    note_version()


onstart:
    set_out()


def say_bottom_line():
    """What the report says first, where this run wrote one."""
    log = Path(RUN, "logs/write_report.log")
    if log.is_file() and (lines := log.read_text().split("\n")[:-1]):
        print(f"{RUN}/report.html: {lines[-1]}")


def ended_well():
    """When all jobs have ended well."""
    forget(Path(RUN))
    forget_links()
    refuse_damage()
    note_made()


onsuccess:
    ended_well()
    say_bottom_line()


def also(moment, action):
    """Have `action` at a moment of a workflow that uses this one as a module, whose own words for it are kept."""
    given, define = getattr(workflow, f"_{moment}"), getattr(workflow, moment)

    def both(theirs):
        return lambda log: (action(), theirs(log))

    setattr(workflow, f"_{moment}", both(given))
    setattr(workflow, moment, lambda theirs: define(both(theirs)))


def made_again(check_incomplete):
    """What a killed run left half written is made again, as `rerun-incomplete` of our profiles has it."""

    async def check(dag):
        dag.workflow.dag_settings.force_incomplete = True
        await check_incomplete(dag)

    return check


if workflow.is_main_process:  # under other profiles, and in other workflows, which read none of ours
    DAG.check_incomplete = made_again(DAG.check_incomplete)


# Snakemake heeds these of the workflow that it was called with, and of no module.
if not workflow.modifier.is_main_snakefile():
    also("onstart", set_out)
    also("onsuccess", ended_well)


# ---------------------------------------------------------------------------------------------------- histogenesis plan


def seconds_before(job):
    """What a job took the last time, of its benchmark file."""
    try:
        return float(Path(str(job.benchmark)).read_text().splitlines()[1].split("\t")[0])
    except (OSError, IndexError, ValueError):
        return None


def describe_plan(path):
    """The jobs that would run, with Snakemake's reasons, for `histogenesis plan`."""
    dag, jobs = getattr(workflow, "dag", None), []
    for job in dag.needrun_jobs(exclude_finished=False) if dag is not None else []:  # a dry run "finishes" them
        reason = dag.reason(job)
        if job.output:
            jobs.append(
                {
                    "rule": job.rule.name,
                    "wildcards": dict(job.wildcards),
                    "new": sorted(str(ast.literal_eval(one)) for one in getattr(reason.params_changed, "only_new", ())),
                    "missing": ", ".join(sorted(map(str, reason.missing_output))[:1]) if reason.missing_output else "",
                    "changed_code": bool(reason.code_changed),
                    "changed_input": bool(reason.input_changed),
                    "seconds": seconds_before(job),
                    "gpu": job.resources.get("gpu", 0),
                }
            )
    order = [one.name for one in workflow.rules]
    jobs.sort(key=lambda job: (order.index(job["rule"]), str(job["wildcards"])))
    if dag is not None:
        total = sum(1 for job in dag.jobs if job.output) + len(Memory.outputs)
        write_json(
            path,
            {
                "jobs": jobs,
                "total": total,
                "settled": len(Memory.outputs),
                "recipe": RECIPE.model_dump(mode="json"),
                "run_dir": RUN,
            },
        )


if workflow.is_main_process and (described := os.environ.get("HISTOGENESIS_PLAN")):
    atexit.register(describe_plan, Path(described))
