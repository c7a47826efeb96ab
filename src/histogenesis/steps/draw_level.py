"""Draw one level of a synthetic slide: its models, and the level above, in; a lossless canvas out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

from histogenesis.canvas.canvas import Level as Canvas
from histogenesis.canvas.codec import codec_of
from histogenesis.canvas.engine import Drawing
from histogenesis.canvas.share import Share
from histogenesis.canvas.task import Bundle
from histogenesis.core.device import compute_with, computed_on
from histogenesis.core.interrupt import StopRequest, hold
from histogenesis.models.model import load_model
from histogenesis.models.training import join_processes
from histogenesis.recipe import Level, canonical
from histogenesis.recipe.identity import bearing
from histogenesis.recipe.imported import check_learnt
from histogenesis.sampling.guidance import guide
from histogenesis.steps.inputs import digest_of, read_plan

NO_LADDER: Mapping[str, list[tuple[int, float]]] = {}


def draw_level(
    *,
    slide: str,
    k: int,
    options: Level,
    size_px: tuple[int, int],
    seed: int,
    models: Path,
    state: Path,
    out: Path,
    above: Path | None = None,
    plan: Path | None = None,
    key: str = "",
    ladder: Mapping[str, list[tuple[int, float]]] = NO_LADDER,
    threads: int = 1,
    memory_mb: int | None = None,
    beside_mb: int = 4000,
    save_every: float = 30.0,
    job: int | None = None,
) -> None:
    """Draw one level of a synthetic slide: its models, and the level above, in; a lossless canvas out.

    Called again after it was killed or stopped, it goes on within the level and gives the same pixels. With a job it is one of
    several that draw the tiles of a level from one queue, into the state folder; a call without it then finishes the level.
    Of several processes (core/launch.py) each draws a band. Raises BadInput for a model that has not learnt what it would
    draw; Stopped, with the state saved, when asked to end.

    slide: the synthetic slide's name: its noise is keyed by it
    k: which level; 0 is the coarsest
    options: the recipe's section of this level
    size_px: height and width
    seed: of the run
    models: folder of the run's models
    state: folder of the drawing in progress; survives failures
    out: level{k}.h5; with a job, an empty file that says done
    above: the finished level above (levels 1, 2, ...)
    plan: plan.json of the tissue plan, beside its plan.png (levels 1, 2, ...)
    key: digest of the code: another digest is another drawing
    ladder: model -> [level, mpp], ...: all that the recipe draws, checked before anything is
    threads: CPU threads; part of the recipe, as it rounds
    memory_mb: what the job may use; default: what is free
    beside_mb: of that, for PyTorch and the network
    save_every: seconds between two savings of the state
    job: one of several jobs that draw the tiles together: 0, 1, ...
    """
    hold(state if job is None else state / f"job{job}")
    compute_with(threads)
    device, share = join_processes(), Share.of_this_process()
    check_learnt(models, dict(ladder))
    weights = [digest_of(models / name / "model.safetensors") for name in options.models]
    parts = [canonical(bearing(options)), *size_px, seed, slide, k, *weights, digest_of(above), key]
    parts += [digest_of(plan), digest_of(plan and plan.with_suffix(".png"))]
    digest = blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()
    if job is None and out.exists() and Canvas(out).attributes.get("drawing") == digest:
        print(f"{out} was finished meanwhile by the process that held its state")
        return

    mask, background = read_plan(plan)
    drawing = Drawing(
        bundles=bundles_of(models, options, device),
        section=options,
        size_px=size_px,
        k=k,
        seed=seed,
        slide=slide,
        above=Canvas(above) if above else None,
        plan=mask,
        background=background,
        device=device,
    )
    current = state / digest[:12]
    if others := sorted(path.name for path in state.glob("*") if path.name != current.name):
        print(f"{state}: {', '.join(others)} is of another drawing or another version; drawn anew", flush=True)
    stop: Any = StopRequest()
    easel = drawing.run(
        current / "tiles" if options.tile_by_tile else current,
        digest,
        stop,
        save_every,
        memory=None if memory_mb is None else (memory_mb - beside_mb) << 20,
        share=share,
    )
    if job is not None or share.rank:
        if not share.rank:
            out.touch()
        return
    drawing.finish(easel, out, model_sha256=",".join(weights), drawing=digest, **computed_on(device))
    shutil.rmtree(state)


def bundles_of(models: Path, options: Level, device: str) -> list[Bundle]:
    """The models that a level names, as its engine takes them. Raises BadInput for a class or precision that is not there."""
    found: list[Any] = [load_model(models / network.model, device, options.precision) for network in options.networks]
    weaker: Any = options.weaker and load_model(models / options.weaker, device, options.precision)
    return [
        Bundle(
            guide(model, options.label if model.classes else None, options.guidance, weaker),
            model.normalisation,
            model.conditions,
            model.objective.sigmas,
            codec_of(model),
        )
        for model in found
    ]
