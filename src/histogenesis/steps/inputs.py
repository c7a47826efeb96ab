"""What several steps do with what they are given."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from histogenesis.core.files import sha256_of
from histogenesis.core.whole import load_json


def digest_of(path: Path | None) -> str:
    """sha256 of a file, hex; nothing of none."""
    return sha256_of(path) if path else ""


def read_plan(plan: Path | None) -> tuple[np.ndarray | None, tuple[int, int, int]]:
    """The tissue plan's mask, bool (h, w), and background colour; no mask, and white, where there is no plan."""
    if plan is None:
        return None, (255, 255, 255)
    red, green, blue = load_json(plan)["background"]
    return np.asarray(Image.open(plan.with_suffix(".png"))) > 127, (red, green, blue)


def say_of_cut(slide: str, error: str, skipped: dict[float, str], cropped: dict[float, str]) -> None:
    """On standard error: why a slide was set aside, at which mpps it gave no patches, and where it is wider than a patch."""
    if error:
        print(f"set aside: {error}", file=sys.stderr)
    for mpp, why in skipped.items():
        print(f"{slide}: no patches at {mpp:g} mpp: {why}", file=sys.stderr)
    for mpp, what in cropped.items():
        print(f"{slide}: cropped at {mpp:g} mpp: {what}", file=sys.stderr)
