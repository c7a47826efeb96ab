"""What a run was made with: versions of the libraries, state of the source tree. For sidecars and the run crate."""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata
from pathlib import Path

from histogenesis.core.version import VERSION

# Those that can change a result; the environment files name the rest.
LIBRARIES = [
    "torch",
    "numpy",
    "scipy",
    "h5py",
    "safetensors",
    "pandas",
    "scikit-image",
    "pillow",
    "shapely",
    "pydantic",
    "matplotlib",
    "tifffile",
    "simplejpeg",
    "openslide-python",
    "openslide-bin",
    "pyvips",
    "histolab",
    "torchmetrics",
    "snakemake",
    "snakemake-executor-plugin-slurm",
]


def versions() -> dict[str, str]:
    """Python's version, and that of each installed library that can change a result. Imports none of them."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def package_version() -> str:
    """The package's version, and the commit of the clone that it runs from."""
    state = git_state(Path(__file__).resolve().parents[3])
    commit = state["commit"] and f" ({str(state['commit'])[:12]}{'' if state['clean'] else '+'})"
    return VERSION + (commit or "")


def git_state(root: str | Path) -> dict[str, str | bool | None]:
    """{"commit": full id, "clean": bool}; both None outside a repository, before the first commit, without git.

    `clean` is False when any file differs from that commit, or is new and not ignored. A copy inside some other
    repository is not that repository's commit, and has None.
    """
    unknown: dict[str, str | bool | None] = {"commit": None, "clean": None}
    top = _git(root, "rev-parse", "--show-toplevel")
    if top is None or Path(top).resolve() != Path(root).resolve():
        return unknown
    commit, changes = _git(root, "rev-parse", "--verify", "--quiet", "HEAD"), _git(root, "status", "--porcelain")
    if not commit or changes is None:
        return unknown
    return {"commit": commit, "clean": not changes}


def _git(root: str | Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True, timeout=60
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
