"""The viewer of a run as a folder."""

from __future__ import annotations

from pathlib import Path

from histogenesis.study.viewer.run import RunImages
from histogenesis.study.viewer.serve import write_folder


def write_viewer(*, run_dir: Path, out: Path, real: bool = False) -> None:
    """The viewer of a run as a folder that opens from any static file server: deep zoom into every synthetic slide and level.

    run_dir: results/{run}
    out: the folder
    real: real slides beside the synthetic ones
    """
    print(write_folder(RunImages(run_dir, real), out), "tiles")
