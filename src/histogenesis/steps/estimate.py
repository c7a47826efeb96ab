"""What a run will cost, before anything of it runs: work, jobs, memory, disk and files, for the slides that it names.

Work is counted, not guessed: FLOP and bytes of each network from the operations that PyTorch would do, evaluations from the
plan that drawing follows. Time is that work over a speed (work.py).
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import torch

from histogenesis.canvas.memory import TORCH_MB
from histogenesis.core.errors import BadInput
from histogenesis.core.sigmas import evaluations
from histogenesis.core.whole import load_json
from histogenesis.models.costs import Cost, counted
from histogenesis.recipe import Model, Recipe
from histogenesis.recipe.data import LabelledPatches, Phantom
from histogenesis.slides.read import open_slide
from histogenesis.slides.table import SlideRow, rows_of, slide_path
from histogenesis.steps.estimate_drawing import drawings
from histogenesis.steps.work import Part, Speed, cost_of

BACKWARD = 2  # times the forward
TISSUE = 0.5  # share of a slide, and of a canvas, where nothing is known yet
BASE_GB = 1e-3 * TORCH_MB
JPEG = 6  # times fewer bytes than pixels have (`jpeg_quality: 90`)


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

    @property
    def precisions(self) -> dict[str, float]:
        """Share of the FLOP in each precision that is asked for."""
        asked = sorted({part.precision for part in self.parts if part.flop})
        return {one: sum(part.flop for part in self.parts if part.precision == one) / self.flop for one in asked}

    def hours(self, speed: Speed) -> float:
        """On one such card, one part after another; infinite where it lacks bf16, and a part asks for it."""
        return sum(part.seconds(speed) for part in self.parts) / 3600


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
    """Each set that is cut from slides: `per_slide` patches, of each class of regions, at each mpp at which one fits there."""
    found = []
    for name, patches in recipe.patches.items():
        if isinstance(patches, LabelledPatches):
            continue
        count = 0
        for width, height, mpp in sizes.values():
            fits = [m for m in patches.mpps if m > 0.97 * mpp and patches.size_px * m <= min(width, height)]
            whole, classes = patches.placement == "whole", len(getattr(patches, "classes", [""]))
            count += len(patches.mpps) if whole else patches.per_slide * classes * len(fits)
            count += 0 if whole else len(getattr(patches, "whole_mpps", None) or [])
        views = 2 if getattr(patches, "context_ratio", None) else 1
        octets = 3 * views * count * patches.size_px**2 / (JPEG if patches.jpeg_quality else 1)
        found.append(Part(f"patches {name}", count=count, disk_gb=1e-9 * octets))
    return found


def trainings(recipe: Recipe) -> list[Part]:
    found = []
    for name, model in [*recipe.trained_models.items(), *winners(recipe)]:
        t = model.training
        seen = t.steps * t.batch
        checks = (t.steps // t.validate_every + 1) * t.validation_images
        rows = max(1, len(recipe.patches[model.patches].mpps))
        samples = 20 * t.sample_images * rows * (t.steps // t.sample_every + 1) if model.denoises else 0
        micro = t.micro_batch or t.batch // t.gpus
        one = cost_of(model, learnt_px(recipe, model), t.precision, micro)
        part = Part(
            f"train {name}",
            count=seen,
            evaluations=seen + checks + samples,
            memory_gb=BASE_GB + 16e-9 * one.parameters + 1.2e-9 * micro * one.bytes_fused,  # what backward wants again
            disk_gb=4e-9 * one.parameters,
            state_gb=16e-9 * one.parameters,
            precision=t.precision,
        )
        found.append(part.add(one, (1 + BACKWARD) * seen + checks + samples))
    return found


def learnt_px(recipe: Recipe, model: Model) -> int:
    """Side of the pictures that a model learns from."""
    return model.training.crop_px or recipe.patches[model.patches].size_px


def winners(recipe: Recipe) -> list[tuple[str, Model]]:
    """Models that will be trained as the best of a study was: as the dearest of those that compete, which it may be."""
    found = []
    for name, winner in recipe.winner_models.items():
        names = {cell.models[winner.winner_of] for cell in recipe.study.cells if winner.winner_of in cell.models}
        models = [m for n in sorted(names) if (m := recipe.trained_models.get(n))]
        sized = [(cost_of(m, learnt_px(recipe, m), "bf16").flop, n) for n, m in enumerate(models)]
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
        count = section.images * classes_of(recipe, name)
        size = section.size_px or recipe.patches[model.patches].size_px
        part = Part(f"samples {name}", count, memory_gb=2 * BASE_GB, disk_gb=3e-9 * count * size**2)
        part.precision = section.precision
        for one, px, sampler in section.networks:
            n = count * evaluations(sampler.kind, sampler.steps) * (2 if section.guidance else 1)
            part.evaluations += n
            part.add(cost_of(recipe.trained_models[one], px or size, section.precision, section.batch), n)
        found.append(part)
    return found


def classifiers(recipe: Recipe) -> list[Part]:
    """What generated patches teach: two arms for each set of samples, one for each patch set that they are compared with."""
    asked = [name for name in recipe.samples if recipe.measures_tstr(name)]
    if not asked:
        return []
    use, sets = recipe.evaluation.tstr, {recipe.compared_with(name) for name in asked}
    part = Part("classifiers", memory_gb=4 * BASE_GB, precision="fp32")
    for name, arms in [*((recipe.compared_with(name), 2) for name in asked), *((name, 1) for name in sorted(sets))]:
        one = _classifier(use.network, recipe.patches[name].size_px, use.batch)
        part.count += arms * use.seeds
        part.add(one, arms * use.seeds * use.steps * use.batch * (1 + BACKWARD))
    part.evaluations = part.count * use.steps * use.batch
    part.disk_gb = 4e-9 * one.parameters * use.seeds * len(sets)
    return [part]


def _classifier(network: str, px: int, batch: int) -> Cost:
    """Of a picture of a batch."""
    from histogenesis.evaluation.tstr import NETWORKS

    with torch.device("meta"):
        return counted(NETWORKS[network](2).eval(), torch.zeros(batch, 3, px, px)).over(batch)


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
