"""What steps ask of a cluster: memory (MB), minutes and GPUs, from what is known of their input before they run.

Every try gets as much memory again (`each_try`). Training and drawing get no more time: out of it, they go on by themselves.
Without a cluster only `threads` counts.
"""

import functools
import json

from histogenesis.canvas import memory

TORCH_MB = memory.TORCH_MB
DRAW_AND_TRAIN_MINUTES = 240  # what most partitions allow; it bounds how long a piece is, not the whole


def each_try(megabytes):
    """Memory that grows with every try. `megabytes`: a number, or a function of the wildcards."""

    def mem_mb(wildcards, attempt):
        return attempt * round(megabytes(wildcards) if callable(megabytes) else megabytes)

    return mem_mb


@functools.cache
def slide_pixels(slide):
    """Pixels of a slide at its finest: as recorded, or, before there is a record, 5 to each byte of its file (JPEG)."""
    if slide in PHANTOMS:
        phantom = PHANTOMS[slide]
        return phantom.width_mm * phantom.height_mm * 1e6 / phantom.mpp**2
    try:
        record = json.loads(Path(f"{RUN}/slides/{slide}.json").read_text())
        return record["width_px"] * record["height_px"]
    except (OSError, ValueError, KeyError, TypeError):  # not recorded yet, or set aside
        path = slide_path(SLIDES[slide].path, Path(RUN))
        return 5 * path.stat().st_size if path.is_file() else 1e9


def canvas_pixels(k):
    height, width = RECIPE.synthetic.size_px(k)
    return height * width


def slide_minutes(per_gigapixel):
    """Runtime of a step that reads a whole slide."""
    return lambda wildcards: 10 + round(per_gigapixel * slide_pixels(wildcards.slide) / 1e9)


def canvas_minutes(per_gigapixel):
    """Runtime of a step that reads the finest level of a synthetic slide, which has four times the pixels of the next."""
    return 10 + round(per_gigapixel * canvas_pixels(len(LEVELS) - 1) / 1e9)


def tissue_mb(wildcards):
    """A slide's overview (at most every 20th pixel of each row), and what the segmentation makes of it."""
    return 1500 + 60e-6 * slide_pixels(wildcards.slide) / 400


def cutting_minutes(wildcards):
    """All patches that a slide may give, read at 20 MB/s, which random reads reach with ease."""
    patches = RECIPE.patches[wildcards.patch_set]
    count = patches.per_slide * len(patches.mpps) * len(getattr(patches, "classes", [""]))
    return 10 + round(count * patches.size_px**2 * 3 / 20e6 / 60)


def training_gpus(wildcards):
    """GPUs of a node that share a training; one for a model like the study's winner, which is not known yet."""
    model = RECIPE.trained_models.get(wildcards.model)
    return model.training.gpus if model else 1


def launched_on(processes):
    """What starts as many processes of a node, one for each GPU."""
    return "python" if processes <= 1 else f"python -m histogenesis.core.launch {processes}"


def launched(wildcards, resources):
    """The same as a param, which is not compared."""
    return launched_on(resources.gpu)


def training_mb(wildcards):
    """Weights, their average, two moments and two copies on the way to the disk; a few batches on their way to the GPU."""
    model = RECIPE.models[wildcards.model]
    if wildcards.model in RECIPE.winner_models:  # which one it is like, is not known yet: the largest of all
        return max(map(model_mb, RECIPE.trained_models.values()), default=2 * TORCH_MB)
    return model_mb(model)


def model_mb(model):
    network, patch_px = model.network, RECIPE.patches[model.patches].size_px
    widths = [network.channels * m for m in getattr(network, "multipliers", [1])]
    blocks = getattr(network, "blocks", 1)  # one number, or one a level
    blocks = blocks if isinstance(blocks, list) else [blocks] * len(widths)
    weights = sum(9 * (10 * count + 6) * width**2 for count, width in zip(blocks, widths))
    of_a_process = TORCH_MB + 24e-6 * weights + 36e-6 * model.training.batch * patch_px**2
    return of_a_process * model.training.gpus


def drawing_mb(wildcards):
    """As canvas/memory.py has it, for all processes that draw the level together."""
    k = int(wildcards.k)
    latent_px, processes = RECIPE.latent_px(LEVELS[k].model), drawing_processes(wildcards)
    return memory.drawing_mb(LEVELS[k], RECIPE.synthetic.size_px(k), latent_px, processes)


def threads_of_a_judge(wildcards, resources, threads):
    """Of each of the processes that measure synthetic slides together; a param that is not compared."""
    return max(1, threads // RECIPE.evaluation.cpu_processes)


def evaluation_mb():
    """The compared patches of every mpp (real, generated, training), in all eight views."""
    patches = RECIPE.patches[finest_patch_set()]
    images = (2 * RECIPE.evaluation.images + RECIPE.evaluation.train_images) * len(patches.mpps)
    return TORCH_MB + 3e-6 * images * patches.size_px**2 * 2


def drawn_first(wildcards):
    """Priority of a level's drawing: before the training of what finer levels need."""
    return 2 * (len(LEVELS) - int(wildcards.k)) + 1


def trained_first(wildcards):
    """Priority of a training: the models of coarse levels first, so that those are drawn while the others still train."""
    drawing = [k for k, level in enumerate(LEVELS) if wildcards.model in level.models]
    return 2 * (len(LEVELS) - min(drawing, default=len(LEVELS)))
