"""Whether two slides are the same one: equal bytes, or the same picture saved again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

SIDE_PX = 32
SAME = 0.998  # correlation of two fingerprints; nine real slides stay under 0.8, one at JPEG quality 40 over 0.999
ASPECT = 0.02  # relative difference of the sides' ratio
FLAT = 1.0  # grey levels; less contrast than this tells nothing


def fingerprint(picture: np.ndarray) -> str:
    """A slide's overview, uint8 (h, w, 3), as 32 x 32 grey values in hexadecimal."""
    small = Image.fromarray(picture).convert("L").resize((SIDE_PX, SIDE_PX), Image.Resampling.BOX)
    return np.asarray(small).tobytes().hex()


def copies(records: Sequence[tuple[str, dict]]) -> list[tuple[str, str, str]]:
    """Pairs of slides that are one, and how that is known: (name, name, words).

    records: (slide, its record with sha256, fingerprint, width_px, height_px); what is None or missing tells nothing.
    """
    found = []
    by_digest: dict[str, str] = {}
    for name, record in records:
        if digest := record.get("sha256"):
            first = by_digest.setdefault(digest, name)
            if first != name:
                found.append((first, name, "are the same file (equal content)"))
    told = [(name, record) for name, record in records if record.get("fingerprint")]
    pictures = np.array([np.frombuffer(bytes.fromhex(r["fingerprint"]), np.uint8) for _, r in told], np.float32)
    if len(told) < 2:
        return found
    pictures -= pictures.mean(axis=1, keepdims=True)
    contrast = np.sqrt((pictures**2).mean(axis=1, keepdims=True))
    alike = (pictures / np.maximum(contrast, FLAT)) @ (pictures / np.maximum(contrast, FLAT)).T / pictures.shape[1]
    ratio = np.array([r["width_px"] / r["height_px"] for _, r in told])
    alike[np.abs(ratio[:, None] / ratio - 1) > ASPECT] = 0
    known = {frozenset(pair[:2]) for pair in found}
    for i, j in np.argwhere(np.triu(alike >= SAME, 1)):
        a, b = told[i], told[j]
        if frozenset((a[0], b[0])) not in known and a[1].get("sha256") != b[1].get("sha256"):
            found.append((a[0], b[0], f"are the same picture (correlation {alike[i, j]:.4f})"))
    return found
