"""Make a reader study."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from histogenesis.recipe.reading import AnyReaderStudy, Pairs, WholeSlides
from histogenesis.study.compose import pairs, survey, whole_slides
from histogenesis.study.folder import write_study


def make_reading(
    *,
    run_dir: Path,
    name: str,
    options: AnyReaderStudy,
    out: Path,
    key: Path,
    slides: Sequence[str] = (),
    mpps: Sequence[float] = (),
    samples: Path | None = None,
    patches: Path | None = None,
    splits: Path | None = None,
) -> None:
    """Make a reader study: the folder that readers receive, and the key, which they do not.

    Raises BadInput where there are fewer pictures of a kind than the section wants.

    run_dir: results/{run}
    name: of the reader study
    options: the recipe's section reading/NAME
    out: the readers' folder
    key: key.json
    slides: names of synthetic slides
    mpps: of their levels
    samples: samples.h5, for a survey
    patches: folder of the patch set that they are compared with
    splits: splits.tsv of that patch set
    """
    if isinstance(options, WholeSlides):
        composed = whole_slides(options, run_dir, slides)
    elif isinstance(options, Pairs):
        composed = pairs(options, run_dir, slides, mpps)
    else:
        composed = survey(options, patches, splits, samples)
    write_study(composed, options, name, run_dir.resolve().name, out, key)
    print(f"{name}: {len(composed.questions)} questions, {len(composed.pictures)} pictures", *composed.notes, sep="\n")
