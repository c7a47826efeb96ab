"""Make a reader study of what a run has made, and analyse what its readers sent back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from histogenesis.recipe.reading import AnyReaderStudy, Pairs, WholeSlides
from histogenesis.study.analyse import analyse_files
from histogenesis.study.compose import Composed, pairs, survey, whole_slides
from histogenesis.study.folder import write_study


def make_reading(
    run_dir: Path,
    name: str,
    section: AnyReaderStudy,
    out: Path,
    key: Path,
    slides: Sequence[str] = (),
    mpps: Sequence[float] = (),
    samples: Path | None = None,
    patches: Path | None = None,
    splits: Path | None = None,
) -> list[str]:
    """Write the folder that readers receive, `out`, and `key`, which they do not; returns what is to be known of it, in lines.

    slides: synthetic ones, by name, and mpps of their levels; samples, patches, splits: for a survey. Raises BadInput where
    there are fewer pictures of a kind than the section wants.
    """
    composed = compose(run_dir, section, slides, mpps, samples, patches, splits)
    write_study(composed, section, name, run_dir.resolve().name, out, key)
    return [f"{name}: {len(composed.questions)} questions, {len(composed.pictures)} pictures", *composed.notes]


def compose(
    run_dir: Path,
    section: AnyReaderStudy,
    slides: Sequence[str],
    mpps: Sequence[float],
    samples: Path | None,
    patches: Path | None,
    splits: Path | None,
) -> Composed:
    if isinstance(section, WholeSlides):
        return whole_slides(section, run_dir, slides)
    if isinstance(section, Pairs):
        return pairs(section, run_dir, slides, mpps)
    return survey(section, patches, splits, samples)


def analyse_reading(key: Path, answers: Sequence[Path], out: Path) -> dict[str, Any]:
    """Write analysis.json, answers.csv, readers.csv and analysis.png under `out`. Raises BadInput for a key that is none."""
    return analyse_files(key, answers, out)
