"""Which jobs draw the waves of one that is drawn tile by tile."""

import functools

from histogenesis.canvas.plan import plan_of


@functools.cache
def wave_sizes(k):
    """How many tiles each wave of a level has, drawn or white."""
    return [len(wave) for wave in plan_of(LEVELS[k], RECIPE.synthetic.size_px(k)).waves]


def jobs_of_wave(k, wave):
    """No job without a tile."""
    return min(LEVELS[k].joining.jobs, wave_sizes(k)[wave])


def wave_done(slide, k, wave):
    """What the jobs of one wave leave behind."""
    folder = f"{RUN}/synthetic/{slide}/level{k}.waves"
    return [f"{folder}/{wave}-{job}" for job in range(jobs_of_wave(k, wave))]


def last_wave(wildcards):
    """Of a level whose waves are dealt out: its last wave, which waits for all others."""
    k = int(wildcards.k)
    dealt_out = getattr(LEVELS[k].joining, "jobs", 1) > 1
    return wave_done(wildcards.slide, k, len(wave_sizes(k)) - 1) if dealt_out else []


def wave_before(wildcards):
    wave = int(wildcards.wave)
    return wave_done(wildcards.slide, int(wildcards.k), wave - 1) if wave else []


def drawing_params(wildcards):
    """What the command is told of a level, alike for the whole of it and for a share of a wave.

    Without the inputs' names: what Snakemake must ask of the inputs is no longer compared with what it was before.
    """
    words = told_of("draw_level", RECIPE, wildcards)
    level = f"--slide {wildcards.slide} --k {wildcards.k} {words['size_px']} {words['seed']} {words['cpu_threads']}"
    return f"{level} --state {RUN}/state/draw/{wildcards.slide}/level{wildcards.k}"


def above_params(wildcards, input):
    """The level above and the plan, for the levels that have them."""
    return f"--above {input.above} --plan {input.plan}" if int(wildcards.k) else ""
