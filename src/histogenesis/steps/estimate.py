"""What a run will cost, before anything of it runs: work, jobs, memory, disk and files, for the slides that it names.

Work is counted, not guessed: FLOP of each network from the operations that PyTorch would do, evaluations from the plan that
drawing follows. Time is that work over a speed: a card's, as stated or as measured here.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from math import ceil
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from histogenesis.core.device import precision_on
from histogenesis.core.errors import BadInput
from histogenesis.core.sigmas import evaluations
from histogenesis.core.whole import load_json
from histogenesis.models.card import read_card
from histogenesis.models.costs import cost
from histogenesis.models.model import build_model
from histogenesis.models.normalisation import Normalisation
from histogenesis.models.shipped import folder_of
from histogenesis.recipe import Model, Recipe
from histogenesis.recipe.data import LabelledPatches, Phantom
from histogenesis.recipe.models import ImportedModel
from histogenesis.report.cost import tiles_of
from histogenesis.slides.read import open_slide
from histogenesis.slides.table import SlideRow, rows_of, slide_path

TFLOPS = {
    "H100": 250.0,
    "A100": 90.0,
    "L40S": 70.0,
    "V100 or T4": 15.0,
}  # that these networks reach, compiled, in bfloat16
BACKWARD = 2  # times the forward
TISSUE = 0.5  # share of a slide, and of a canvas, where nothing is known yet
BASE_GB = 4.0  # PyTorch and CUDA, before they hold anything
TIFF_BYTES = 0.7  # of JPEG (4:4:4, quality 89) to each pixel of tissue, its pyramid included
LEVEL_BYTES = 3.0  # of a finished level to each of its pixels, all kept as they are
STATE_BYTES = 48.0  # of a level while it is drawn: the picture and the solver's history, each twice


@dataclass
class Part:
    """One line of the estimate. flop: of all its evaluations; disk_gb: what stays; state_gb: what is there while it runs."""

    what: str
    count: float = 0
    evaluations: float = 0
    flop: float = 0.0
    memory_gb: float = 0.0
    disk_gb: float = 0.0
    state_gb: float = 0.0


@dataclass
class Estimate:
    parts: list[Part] = field(default_factory=list)
    jobs: int | None = None
    files: int = 0

    @property
    def flop(self) -> float:
        return sum(part.flop for part in self.parts)

    @property
    def disk_gb(self) -> float:
        return sum(part.disk_gb for part in self.parts)

    @property
    def peak_disk_gb(self) -> float:
        """What stays, and the state of all that is trained and of the largest level that is drawn."""
        trained = sum(part.state_gb for part in self.parts if part.what.startswith("train"))
        return self.disk_gb + trained + max((p.state_gb for p in self.parts if p.what.startswith("draw")), default=0.0)

    def hours(self, tflops: float) -> float:
        return self.flop / tflops / 1e12 / 3600


def estimate(recipe: Recipe, run_dir: Path, tissue: float = TISSUE) -> Estimate:
    """Of a whole run. tissue: share of slides and canvases that is tissue. Raises BadInput for slides that cannot be read."""
    sizes = slide_sizes(recipe, run_dir)
    work = [*trainings(recipe), *samples(recipe), *classifiers(recipe), *drawings(recipe, tissue)]
    found = Estimate(parts=[*patch_sets(recipe, sizes), *work])
    found.files = files(recipe, len(sizes))
    return found


def slide_sizes(recipe: Recipe, run_dir: Path) -> dict[str, tuple[float, float, float]]:
    """Slide -> width and height in um, and mpp: from the run's records, the phantoms' recipe, or the slides' headers."""
    phantoms = {phantom.name: phantom for phantom in recipe.slides.phantoms}
    return {row.slide: _size(row, phantoms.get(row.slide), run_dir) for row in rows_of(recipe.slides, recipe.run)}


def _size(row: SlideRow, phantom: Phantom | None, run_dir: Path) -> tuple[float, float, float]:
    record = run_dir / f"slides/{row.slide}.json"
    if phantom:
        return 1000 * phantom.width_mm, 1000 * phantom.height_mm, phantom.mpp
    if record.is_file() and "mpp" in (known := load_json(record)) and known["mpp"]:
        return known["width_px"] * known["mpp"], known["height_px"] * known["mpp"], known["mpp"]
    with open_slide(slide_path(row.path, run_dir), row.mpp) as slide:
        return slide.width_px * slide.mpp, slide.height_px * slide.mpp, slide.mpp


def patch_sets(recipe: Recipe, sizes: dict[str, tuple[float, float, float]]) -> list[Part]:
    """Each set that is cut from slides: `per_slide` patches at each mpp at which one fits on the slide."""
    found = []
    for name, patches in recipe.patches.items():
        if isinstance(patches, LabelledPatches):
            continue
        count = 0
        for width, height, mpp in sizes.values():
            fits = [m for m in patches.mpps if m > 0.97 * mpp and patches.size_px * m <= min(width, height)]
            whole = patches.placement == "whole"
            count += len(patches.mpps) if whole else patches.per_slide * len(fits)
            count += 0 if whole else len(getattr(patches, "whole_mpps", None) or [])
        views = 2 if getattr(patches, "context_ratio", None) else 1
        found.append(Part(f"patches {name}", count=count, disk_gb=3e-9 * views * count * patches.size_px**2))
    return found


def trainings(recipe: Recipe) -> list[Part]:
    found = []
    for name, model in [*recipe.trained_models.items(), *winners(recipe)]:
        px = model.training.crop_px or recipe.patches[model.patches].size_px
        t, one = model.training, _cost(model, px)
        seen = t.steps * t.batch
        checks = (t.steps // t.validate_every + 1) * t.validation_images
        rows = max(1, len(recipe.patches[model.patches].mpps))
        samples = 20 * t.sample_images * rows * (t.steps // t.sample_every + 1) if model.denoises else 0
        micro = t.micro_batch or t.batch // t.gpus
        memory = BASE_GB + 16e-9 * one.parameters + 1.2e-9 * micro * one.bytes_fused  # what backward wants again
        found.append(
            Part(
                f"train {name}",
                count=seen,
                evaluations=seen + checks + samples,
                flop=one.flop * ((1 + BACKWARD) * seen + checks + samples),
                memory_gb=memory,
                disk_gb=4e-9 * one.parameters,
                state_gb=16e-9 * one.parameters,
            )
        )
    return found


def winners(recipe: Recipe) -> list[tuple[str, Model]]:
    """Models that will be trained as the best of a study was: as the dearest of those that compete, which it may be."""
    found = []
    for name, winner in recipe.winner_models.items():
        names = {cell.models[winner.winner_of] for cell in recipe.study.cells if winner.winner_of in cell.models}
        models = [m for n in sorted(names) if (m := recipe.trained_models.get(n))]
        sized = [
            (_cost(m, m.training.crop_px or recipe.patches[m.patches].size_px).flop, n) for n, m in enumerate(models)
        ]
        if sized:
            model = models[max(sized)[1]]
            training = model.training.model_copy(update=winner.training)
            found.append((name, model.model_copy(update={"patches": winner.patches, "training": training})))
    return found


def classes_of(recipe: Recipe, name: str) -> int:
    """How many classes samples are of: as far as the recipe says; of labelled folders it does not, which counts as one."""
    section = recipe.samples[name]
    model = recipe.trained_models.get(getattr(section, "model", ""))
    if model and "label" not in model.conditions:
        return 1
    patches = recipe.patches.get(recipe.compared_with(name))
    return len(section.classes or getattr(model, "classes", None) or getattr(patches, "classes", None) or [""])


def samples(recipe: Recipe) -> list[Part]:
    """Patches that models draw, of each class: every evaluation of their samplers."""
    found = []
    for name, section in recipe.drawn_samples.items():
        model = recipe.trained_models.get(section.model)
        if model is None:
            continue
        count, times, flop = section.images * classes_of(recipe, name), 0, 0.0
        size = section.size_px or recipe.patches[model.patches].size_px
        for one, px, sampler in section.networks:
            n = evaluations(sampler.kind, sampler.steps) * (2 if section.guidance else 1)
            times, flop = times + n, flop + count * n * _cost(recipe.trained_models[one], px or size).flop
        found.append(Part(f"samples {name}", count, count * times, flop, BASE_GB, 3e-9 * count * size**2))
    return found


def classifiers(recipe: Recipe) -> list[Part]:
    """What generated patches teach: two arms for each set of samples, one for each patch set that they are compared with."""
    asked = [name for name in recipe.samples if recipe.measures_tstr(name)]
    if not asked:
        return []
    use, sets = recipe.evaluation.tstr, {recipe.compared_with(name) for name in asked}
    trained, flop, weights = 0, 0.0, 0
    for name, arms in [*((recipe.compared_with(name), 2) for name in asked), *((name, 1) for name in sorted(sets))]:
        trained += arms * use.seeds
        one, weights = _classifier(use.network, recipe.patches[name].size_px)
        flop += arms * use.seeds * use.steps * use.batch * (1 + BACKWARD) * one
    disk = 4e-9 * weights * use.seeds * len(sets)
    return [Part("classifiers", trained, trained * use.steps * use.batch, flop, BASE_GB, disk)]


def _classifier(network: str, px: int) -> tuple[float, int]:
    """FLOP of a picture, and weights."""
    from histogenesis.evaluation.tstr import NETWORKS

    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        model = NETWORKS[network](2)
        model.eval()(torch.zeros(1, 3, px, px))
    return float(counter.get_total_flops()), sum(w.numel() for w in model.parameters())


def drawings(recipe: Recipe, tissue: float) -> list[Part]:
    """Each level of all synthetic slides: the tiles of every evaluation of its plan, but for the share without tissue."""
    found: list[Part] = []
    if not recipe.synthetic:
        return found
    slides = recipe.synthetic.slides
    for k, level in enumerate(recipe.synthetic.levels):
        height, width = recipe.synthetic.size_px(k)
        everywhere = np.ones(recipe.synthetic.size_px(0), bool)
        share = 1.0 if k == 0 else drawn_share(tissue, getattr(level, "tile_px", 1), height, width)
        count, flop, memory = 0.0, 0.0, BASE_GB
        for side, times in tiles_of(recipe, k, recipe.synthetic.names[0], everywhere):
            count += share * times * slides
            flop += share * times * slides * flop_of(recipe, level, side)
        pixels = height * width
        found.append(
            Part(
                f"draw level {k} ({level.mpp:g} mpp)",
                count=slides,
                evaluations=count,
                flop=flop,
                memory_gb=memory,
                disk_gb=1e-9 * LEVEL_BYTES * pixels * slides,
                state_gb=1e-9 * STATE_BYTES * pixels if level.from_noise else 0.0,
            )
        )
    height, width = recipe.synthetic.size_px(len(recipe.synthetic.levels) - 1)
    found.append(Part("slides as TIFF", count=slides, disk_gb=1e-9 * TIFF_BYTES * tissue * height * width * slides))
    return found


def drawn_share(tissue: float, tile_px: int, height: int, width: int) -> float:
    """Share of a canvas's tiles that touch tissue: more than that of its pixels, as tiles at the border are drawn whole."""
    side = tile_px / min(height, width)
    return min(1.0, tissue + 2 * side * tissue**0.5)


def flop_of(recipe: Recipe, level, side: int) -> float:
    """Of one evaluation of a tile of that side, also by a model that is taken, as its model.json says; 0 for one that is not
    there, and for one that is taken and draws latents, whose size only the autoencoder's files tell."""
    networks = level.networks if level.from_noise else []
    name = next((network.model for network in networks if network.tile_px == side), level.model)
    if name is None:
        return 0.0
    poorer = getattr(level, "weaker", None) or name
    return _flop(recipe, name, side) + guided_share(level) * _flop(recipe, poorer, side)


def _flop(recipe: Recipe, name: str, side: int) -> float:
    model, imported = recipe.trained_models.get(name), recipe.models[name]
    if model:
        return _cost(model, side).flop
    return _flop_of_imported(imported.source, side) if isinstance(imported, ImportedModel) else 0.0


@cache
def _flop_of_imported(source: str, px: int) -> float:
    try:
        section = read_card(folder_of(source))["section"]
    except BadInput:
        return 0.0
    return 0.0 if section.get("autoencoder") else cost(section, px).flop


def guided_share(level) -> float:
    """Share of a level's steps that ask a second time: its model without the class, or a weaker one."""
    if not getattr(level, "guidance", 0):
        return 0.0
    sampler, start = level.sampler, level.start and level.start.sigma
    if sampler.guided_sigmas is None or sampler.on_schedule:
        return 1.0
    low, high = sampler.guided_sigmas
    sigmas = sampler.step_sigmas(start)[:-1]
    return sum(low < sigma <= high for sigma in sigmas) / len(sigmas)


_COSTS: dict[tuple[str, int], object] = {}


def _cost(model: Model, px: int):
    key = model.model_dump_json(include={"network", "objective", "conditions"}), px
    if key not in _COSTS:
        _COSTS[key] = cost(model, px // model.latent_px)
    return _COSTS[key]


def files(recipe: Recipe, slides: int) -> int:
    """Files that stay in the run's folder: results, logs and benchmarks, and of each result its mark and a copy of that."""
    sets = [p for p in recipe.patches.values() if p.from_slides]
    count = 8 * slides + sum(slides * (4 + 2 * len(p.mpps)) for p in sets)
    count += 9 * len(recipe.trained_models) + 20 + 30  # the run's own, and its evaluation and report
    if recipe.synthetic:
        count += recipe.synthetic.slides * (3 * len(recipe.synthetic.levels) + 8)
    return 2 * count  # half of them are results


def jobs(words: list[str]) -> int:
    """Of a run, as Snakemake counts them in a dry run of its command. Raises BadInput with what it says."""
    words = [*words[:-2], "--dry-run", "--quiet", "rules", *words[-2:]]
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    said = done.stdout + done.stderr
    if done.returncode:
        raise BadInput("Snakemake cannot plan this run:\n" + "\n".join(said.splitlines()[-5:]))
    total = re.findall(r"^total\s+(\d+)", said, flags=re.M)
    return int(total[0]) if total else 0


def measured_tflops(model: Model, px: int, device: str, clock: Callable[[], float] = time.perf_counter) -> float:
    """What this machine reaches with a model's own network, by a few evaluations of it."""
    torch.manual_seed(0)
    network = build_model(model, px, Normalisation.unit(), ["one", "two"]).to(device).eval()
    network.precision = precision_on(device, model.training.precision)
    batch, n_images = min(8, model.training.batch), len([c for c in model.conditions if c in ("lowres", "context")])
    x, one = torch.randn(batch, 3, px, px, device=device), torch.ones(batch, device=device)
    images = torch.randn(batch, 3 * n_images, px, px, device=device)
    cond = {"cond_image_bchw": images, "lowres_noise_b": one} if n_images else {}
    runs, begin = ceil(64 / batch), None
    with torch.inference_mode():
        for n in range(runs + 1):
            if n == 1:
                begin = clock()
            network(x, one, one, **cond)
        if device != "cpu":
            torch.cuda.synchronize()
    seconds = clock() - begin
    return cost(model, px).flop * batch * runs / seconds / 1e12
