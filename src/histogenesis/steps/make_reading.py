"""Make a reader study."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from histogenesis.recipe.reading import AnyReaderStudy
from histogenesis.steps import reading


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
    said = reading.make_reading(run_dir, name, options, out, key, slides, mpps, samples, patches, splits)
    print(*said, sep="\n")
