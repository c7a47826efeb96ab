"""Whether there is a picture at all: tissue, colour and contrast of each synthetic slide beside the real ones.

Asked before anything is compared, since an empty slide or one of a single colour has no patches to compare.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import numpy as np
from skimage.color import rgb2lab

from histogenesis.core.whole import load_json
from histogenesis.evaluation.collect import synthetic_folders
from histogenesis.evaluation.sets import Sets
from histogenesis.metrics.coherence.strips import open_levels, read_plan
from histogenesis.metrics.encoders.features import ImageSet

MOST = 100  # patches of a slide at an mpp
FEWEST = 5  # of a real slide, fewer say nothing of it
ANYWHERE = 16  # windows of a slide on which no tissue was planned


def measure_condition(sets: Sets, synthetic: str | Path, tissue: str | Path, size_px: int, seed: int) -> dict:
    """What evaluation/condition.json holds.

    sets: real and generated patches; synthetic: folder of the drawn slides; tissue: folder of the real ones' qc.json.
    {"real": {"tissue": {slide: share}, "levels": [{mpp, slide, lab, contrast, n}]}, "synthetic": [{slide, tissue, levels: the
    same}]}: lab is the mean colour of the patches (CIELAB), contrast the median over patches of the standard deviation of
    their lightness. Where no tissue was planned, windows from anywhere are taken, and `anywhere` is true.
    """
    real = {"tissue": _real_shares(Path(tissue)), "levels": _by_slide(sets.train) + _by_slide(sets.held_out)}
    found = []
    generated = _by_slide(sets.generated)
    for i, folder in enumerate(synthetic_folders(synthetic)):
        own = [level for level in generated if level["slide"] == folder.name]
        share = float(read_plan(folder / "plan.png").mean())
        found.append({"slide": folder.name, "tissue": share, "levels": own or _anywhere(folder, size_px, seed + i)})
    return {"real": real, "synthetic": found}


def describe(patches: np.ndarray) -> dict:
    """lab [L, a, b] and contrast of patches (n, p, p, 3) uint8."""
    lab = rgb2lab(patches)
    return {
        "lab": lab.mean(axis=(0, 1, 2)).tolist(),
        "contrast": float(np.median(lab[..., 0].std(axis=(1, 2)))),
        "n": len(patches),
    }


def _by_slide(images: ImageSet) -> list[dict]:
    found = []
    for mpp in sorted(set(images.mpp.tolist()), reverse=True):
        for slide in sorted(set(images.slide.tolist())):
            rows = np.flatnonzero((images.mpp == mpp) & (images.slide == slide))
            if len(rows) >= FEWEST or (len(rows) and images.name == "generated"):
                rows = rows[np.linspace(0, len(rows) - 1, min(MOST, len(rows))).round().astype(int)]
                found.append({"mpp": float(mpp), "slide": str(slide)} | describe(images.images[rows]))
    return found


def _anywhere(folder: Path, size_px: int, seed: int) -> list[dict]:
    found = []
    with ExitStack() as stack:
        for file in [stack.enter_context(file) for file in open_levels(folder)]:
            image, mpp = file["image"], float(file.attrs["mpp"])
            side = min(size_px, *image.shape[:2])
            rng = np.random.default_rng([seed, round(mpp * 1e6)])
            corners = rng.integers(0, np.array(image.shape[:2]) - side + 1, (ANYWHERE, 2))
            patches = np.stack([image[y : y + side, x : x + side] for y, x in corners])
            found.append({"mpp": mpp, "slide": folder.name, "anywhere": True} | describe(patches))
    return found


def _real_shares(tissue: Path) -> dict[str, float]:
    shares = {}
    for path in sorted(tissue.glob("*/qc.json")):
        try:
            share = load_json(path).get("fraction")
        except (OSError, ValueError):
            continue
        if isinstance(share, int | float):
            shares[path.parent.name] = float(share)
    return shares
