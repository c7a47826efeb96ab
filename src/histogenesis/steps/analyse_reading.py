"""Join what readers sent back with the key of their study."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from histogenesis.study.analyse import analyse_files


def analyse_reading(*, key: Path, out: Path, answers: Sequence[Path] = ()) -> None:
    """Join what readers sent back with the key of their study: analysis.json, answers.csv, readers.csv, analysis.png.

    Raises BadInput for a key that is none.

    key: key.json of the study
    out: folder
    answers: the files that readers saved
    """
    print(*analyse_files(key, answers, out)["problems"], sep="\n")
