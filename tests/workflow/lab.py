"""A lab in a folder: a copy of the workflow, slides, and the results of a tiny recipe that uses each kind of input once.

Two slides of a table (one with a tissue outline that a person drew) and a phantom; a model for level 0 and another for levels
1 and 2, each with a patch set of its own; one synthetic slide.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import yaml

from histogenesis.phantom.slide import make_phantom
from histogenesis.recipe import Phantom

from .conftest import Run

PARTS = ["Snakefile", "rules", "src", "workflow", "envs", "config", "profiles"]

NETWORK = "{channels: 8, multipliers: [1, 2], blocks: 1, attention_px: [], heads: 1}"
TRAINING = (
    "{steps: 6, batch: 4, lr: 1.0e-3, ema_half_life_images: 100, precision: fp32, checkpoint_every: 3, log_every: 3,"
    " validate_every: 6, validation_images: 4, sample_every: 6, sample_images: 2}"
)
RECIPE = f"""
run: lab
seed: 5
cpu_threads: 1
slides:
  table: slides.tsv
  phantoms: [{{name: c, seed: 3, width_mm: 1.2, height_mm: 1.0, mpp: 2}}]
split: {{validation: 0.34}}
tissue: {{mpp: 10}}
patches:
  coarse: {{size_px: 16, mpps: [16], per_slide: 20}}
  fine: {{size_px: 16, mpps: [8, 4], per_slide: 20}}
models:
  coarse: {{patches: coarse, network: {NETWORK}, training: {TRAINING}}}
  fine: {{patches: fine, network: {NETWORK}, training: {TRAINING}}}
synthetic:
  levels:
    - {{mpp: 16, size_px: [32, 32], model: coarse, tile_px: 16, sampler: {{steps: 3}}}}
    - {{mpp: 8, model: fine, tile_px: 16, constraint: {{kind: null-space}}, sampler: {{steps: 3}}}}
    - {{mpp: 4, model: fine, tile_px: 16, constraint: {{kind: null-space}}, sampler: {{steps: 3}}}}
  file: {{tile_px: 64}}
evaluation: {{contact_sheet: 2, seam_shifts: 20, encoders: [stain-statistics, he-network], images: 20, n_resamples: 10,
  pfid_crops: 10, sensitivity_images: 0, morphology_images: 0, c2st_steps: 0}}
"""
TABLE = "slide\tpath\tpatient\tlabel\ttissue\na\ta.tif\tkowalski\tbenign\tdrawn/a.geojson\nb\tb.tif\tnguyen\ttumour\t\n"


class Lab:
    """`folder` holds workflow/ (the code), slides/ and project/ (recipe, slide table, results)."""

    def __init__(self, folder: Path):
        self.folder, self.code, self.slides, self.project = (
            folder,
            *(folder / name for name in ("code", "slides", "project")),
        )

    @property
    def results(self) -> Path:
        return self.project / "results/lab"

    @property
    def run(self) -> Run:
        return Run(self.code, self.project)

    def make(self, *arguments: str) -> None:
        self.run.run(self.project / "recipe.yaml", *arguments, **self.environment)

    def planned(self, *arguments: str, **environment: str) -> dict[str, int]:
        return self.run.planned(self.project / "recipe.yaml", *arguments, **self.environment | environment)

    @property
    def environment(self) -> dict[str, str]:
        return {"HISTOGENESIS_SLIDE_ROOT": str(self.slides)}

    def edit(self, name: str, change: Callable[[str], str]) -> None:
        """Change the text of a file; one that stays as it was would test nothing."""
        path = self.folder / name
        text = path.read_text()
        changed = change(text)
        assert changed != text, f"{name}: nothing was changed"
        path.write_text(changed)

    def edit_recipe(self, change: Callable[[dict], None]) -> None:
        path = self.project / "recipe.yaml"
        values = yaml.safe_load(path.read_text())
        change(values)
        path.write_text(yaml.safe_dump(values))

    def copy(self, folder: Path) -> "Lab":
        shutil.copytree(self.folder, folder, symlinks=True)
        return Lab(folder)


def set_up(root: Path, folder: Path) -> Lab:
    """A lab that has run nothing yet."""
    lab = Lab(folder)
    for path in (lab.code, lab.slides / "drawn", lab.project):
        path.mkdir(parents=True)
    for part in PARTS:
        source, target = root / part, lab.code / part
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy2(source, target)
    for seed, name in enumerate(("a", "b"), start=1):
        options = Phantom(name=name, seed=seed, width_mm=1.2, height_mm=1.0, mpp=2)
        make_phantom(options, lab.slides / f"{name}.tif", folder / "mask.png")
    (lab.slides / "drawn/a.geojson").write_text(OUTLINE)
    (lab.project / "slides.tsv").write_text(TABLE)
    (lab.project / "recipe.yaml").write_text(RECIPE)
    return lab


def touch(*folders: Path) -> None:
    """New times for all files, as a fresh checkout or a copy without times has them."""
    for folder in folders:
        for path in folder.rglob("*"):
            os.utime(path)


OUTLINE = (
    '{"type": "FeatureCollection", "features": [{"type": "Feature", "properties": {"classification": {"name": "Tissue"}},'
    ' "geometry": {"type": "Polygon", "coordinates": [[[60, 60], [540, 60], [540, 440], [60, 440], [60, 60]]]}}]}'
)
