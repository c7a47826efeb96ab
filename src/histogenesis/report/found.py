"""What a report speaks of: the parts of a run, in plain values, as `gather` reads them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from histogenesis.patches.splits import is_whole


@dataclass
class Slide:
    """A slide of the table: its record, its tissue, what of it is in which split."""

    name: str
    record_file: Path
    record: dict = field(default_factory=dict)
    qc_file: Path | None = None
    qc: dict = field(default_factory=dict)
    overlay: Path | None = None
    splits: list[dict] = field(default_factory=list)

    @property
    def error(self) -> str:
        """Why it was set aside; empty if it was not."""
        return str(self.record.get("error") or self.qc.get("error") or "")

    @property
    def warnings(self) -> list[str]:
        return [str(warning) for warning in self.qc.get("warnings") or []]

    @property
    def made_up(self) -> bool:
        return str(self.record.get("path", "")).startswith("run:phantoms")

    @property
    def patient(self) -> str:
        return self.splits[0]["patient"] if self.splits else ""


@dataclass
class PatchFile:
    """Patches of one slide in one set: how many at each mpp."""

    file: Path
    picture: Path | None
    counts: dict[float, int]
    size_px: int | None
    error: str


@dataclass
class Model:
    name: str
    folder: Path
    card: dict  # model.json
    losses: list[dict]  # train.jsonl
    loss_png: Path | None
    samples_png: Path | None


@dataclass
class Synthetic:
    """A synthetic slide: its files, and its evaluation."""

    name: str
    levels: list[Path]
    plan: Path | None
    tif: Path | None
    coherence_file: Path | None
    coherence: dict
    contact: Path | None


@dataclass
class Samples:
    """Patches that a model drew: their evaluation, and the pictures of it that are there."""

    name: str
    sheet: Path | None
    metrics: list[dict]
    memorisation: dict
    memorisation_file: Path
    shown: Path | None
    utility: Path | None


@dataclass
class Benchmark:
    """Of one job, from its benchmark file: step is the rule's folder (or file)."""

    step: str
    seconds: float
    memory_mb: float | None


@dataclass
class Run:
    folder: Path
    recipe_file: Path | None = None
    recipe_text: str = ""
    recipe: dict = field(default_factory=dict)
    slides: dict[str, Slide] = field(default_factory=dict)
    splits_file: Path | None = None
    patches: dict[str, dict[str, PatchFile]] = field(default_factory=dict)
    split_counts: dict[str, dict[str, dict[float, int]]] = field(default_factory=dict)  # set -> split -> mpp -> n
    models: list[Model] = field(default_factory=list)
    synthetic: list[Synthetic] = field(default_factory=list)
    samples: list[Samples] = field(default_factory=list)
    study: list[dict] = field(default_factory=list)  # rows of study/table.json
    arms: list[dict] = field(default_factory=list)  # study/arms.json: what its arms differ in
    winner: dict = field(default_factory=dict)
    reading: dict[str, dict] = field(
        default_factory=dict
    )  # reader study -> its analysis.json, where somebody has answered
    groups: dict[str, list[dict]] = field(default_factory=dict)  # labelled patch set -> rows of its splits.tsv
    metrics_file: Path | None = None
    metrics: list[dict] = field(default_factory=list)
    memorisation_file: Path | None = None
    memorisation: dict = field(default_factory=dict)
    condition_file: Path | None = None
    condition: dict = field(default_factory=dict)
    evidence: dict = field(default_factory=dict)  # evaluation/evidence.json: the patches behind the numbers
    other_evaluations: list[Path] = field(default_factory=list)
    benchmarks: list[Benchmark] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return str(self.recipe.get("run") or self.folder.name)

    @property
    def by_region(self) -> bool:
        """True when a slide was split within itself: the hold-out is then regions, and not patients."""
        rows = [row for slide in self.slides.values() for row in slide.splits]
        return not all(map(is_whole, rows))

    def slides_in(self, *splits: str) -> list[Slide]:
        return [s for s in self.slides.values() if not s.error and any(row["split"] in splits for row in s.splits)]
