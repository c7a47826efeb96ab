"""Which jobs and processes draw a level together."""

from histogenesis.canvas.plan import plan_of
from histogenesis.provenance.devices import processes_of


def shares(wildcards):
    """Of a level that several jobs draw from one queue: what they leave behind."""
    k = int(wildcards.k)
    jobs = getattr(LEVELS[k].joining, "jobs", 1)
    if jobs == 1:
        return []
    tiles = sum(len(wavefront) for wavefront in plan_of(LEVELS[k], RECIPE.synthetic.size_px(k)).wavefronts)
    return [f"{RUN}/synthetic/{wildcards.slide}/level{k}.shares/{job}" for job in range(min(jobs, tiles))]


def drawing_gpus(wildcards):
    """GPUs of a node that draw a level together, a process each."""
    return LEVELS[int(wildcards.k)].gpus


def drawing_processes(wildcards):
    """Processes that draw a level together."""
    return processes_of(LEVELS[int(wildcards.k)])


def drawing_launched(wildcards, resources):
    """What starts them; a job asks its own machine. As a param that is not compared."""
    return launched_on(drawing_processes(wildcards))


def drawing_params(wildcards):
    """What the command is told of a level, alike for the whole of it and for a share of it.

    Without the inputs' names: what Snakemake must ask of the inputs is no longer compared with what it was before.
    """
    words = told_of("draw_level", RECIPE, wildcards)
    level = f"--slide {wildcards.slide} --k {wildcards.k} {words['size_px']} {words['seed']} {words['cpu_threads']}"
    return f"{level} --state {RUN}/state/draw/{wildcards.slide}/level{wildcards.k}"


def above_params(wildcards, input):
    """The level above and the plan, for the levels that have them."""
    return f"--above {input.above} --plan {input.plan}" if int(wildcards.k) else ""
