"""Try to cheat at a reader study: what a program tells of real and generated from anything but the tissue.

Each channel is a table of numbers, one row a picture: what its file is called, weighs, says in its header, when it was
written; its border; its glass; traces of JPEG's grid. A ridge classifier that leaves each picture out in turn gives an AUC,
and shuffled truths say how large that gets by chance. Pictures whose tissue differs can differ in the last three too,
honestly; those that went through unequal hands do so with certainty.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.stats import rankdata

from histogenesis.core.errors import BadInput
from histogenesis.study.answers import read_key
from histogenesis.study.equal import TINT
from histogenesis.study.questions import GENERATED

SHUFFLES = 500
RIDGE = 1.0  # of standardised numbers
HEADER = 700  # bytes: of JPEG's tables and what else stands before the pixels
BORDER_PX = 2
DATA = re.compile(r'<script id="data" type="application/json">(.*?)</script>', re.DOTALL)


@dataclass(frozen=True)
class Sent:
    """A picture as a reader receives it: its file, or for a slide all of its tiles; name, time of change (s), and order."""

    files: tuple[bytes, ...]
    name: str
    time: float
    place: int

    def pixels(self) -> np.ndarray:
        """The largest of its files' pictures, uint8 (h, w, 3)."""
        return np.asarray(Image.open(io.BytesIO(max(self.files, key=len))).convert("RGB"))


def names(sent: Sent) -> list[float]:
    digest = [int(c, 36) if c.isalnum() and c.isascii() else 40 for c in sent.name[:24].ljust(24, "0").casefold()]
    return [len(sent.name), sent.place, *digest]


def times(sent: Sent) -> list[float]:
    return [sent.time]


def sizes(sent: Sent) -> list[float]:
    return [len(sent.files), float(sum(map(len, sent.files))), float(max(map(len, sent.files)))]


def headers(sent: Sent) -> list[float]:
    """Bytes before the pixels, and what decoders report: format, size, mode, and any metadata."""
    first = sent.files[0]
    start = first.find(b"\xff\xda")
    image = Image.open(io.BytesIO(first))
    about = repr(
        (image.format, image.size, image.mode, sorted((k, str(v)) for k, v in image.info.items() if k != "exif"))
    )
    told = hashlib.sha256(about.encode()).digest()[:4]
    return [
        start,
        image.width,
        image.height,
        len(image.info),
        *first[:HEADER].ljust(HEADER, b"\0")[: max(start, 0)][:200],
        *told,
    ][:180]


def borders(sent: Sent) -> list[float]:
    """Mean colour and spread along each side."""
    p = sent.pixels().astype(float)
    sides = p[:BORDER_PX], p[-BORDER_PX:], p[:, :BORDER_PX], p[:, -BORDER_PX:]
    return [
        v
        for side in sides
        for v in (*side.mean(axis=(0, 1)), side.std(), (np.abs(side - TINT).max(axis=-1) < 1).mean())
    ]


def glass(sent: Sent) -> list[float]:
    """Colour, spread and share of what is bright and grey."""
    p = sent.pixels().reshape(-1, 3).astype(float)
    bright = p[(p.min(axis=1) > 225) & (np.ptp(p, axis=1) < 12)]
    if len(bright) < 30:
        return [TINT, TINT, TINT, 0.0, 0.0, 0.0]
    return [*bright.mean(axis=0), *bright.std(axis=0)]


def grid(sent: Sent) -> list[float]:
    """How much steeper pixels change at lines eight apart than between them, at the phase where that is most; how sparse the
    cosine transform of blocks is there."""
    from scipy.fft import dctn

    p = sent.pixels().astype(float).mean(axis=-1)
    found = []
    for axis in (0, 1):
        steps = np.abs(np.diff(p, 2, axis=axis)).mean(axis=1 - axis)
        by_phase = [steps[phase::8].mean() for phase in range(8)]
        found += [max(by_phase) / max(np.mean(by_phase), 1e-6), min(by_phase) / max(np.mean(by_phase), 1e-6)]
    sparse = []
    for y in range(8):
        for x in range(8):
            h, w = ((n - o) // 8 * 8 for n, o in zip(p.shape, (y, x)))
            blocks = p[y : y + h, x : x + w].reshape(h // 8, 8, w // 8, 8).swapaxes(1, 2)
            sparse.append(float((np.abs(dctn(blocks, axes=(2, 3), norm="ortho"))[:, :, 4:, 4:] < 1).mean()))
    return [*found, max(sparse) - float(np.median(sparse)), max(sparse)]


CHANNELS: dict[str, Callable[[Sent], list[float]]] = {
    "names": names, "times": times, "sizes": sizes, "headers": headers, "borders": borders, "glass": glass, "grid": grid,
}  # fmt: skip


def cheat(sent: Sequence[Sent], generated: Sequence[bool], seed: int = 1) -> list[dict[str, Any]]:
    """Of each channel: AUC of generated against real, each picture told by a classifier that has not seen it, and the share of
    shuffled truths that do as well (p). Raises BadInput for fewer than four of either kind."""
    truth = np.asarray(generated, bool)
    if min(truth.sum(), (~truth).sum()) < 4:
        raise BadInput(f"{truth.sum()} generated and {(~truth).sum()} real pictures are too few to try to cheat with")
    found = []
    for channel, numbers in CHANNELS.items():
        table = np.array([numbers(one) for one in sent], float)
        auc, p = told_apart(table, truth, seed)
        found.append({"channel": channel, "features": table.shape[1], "auc": auc, "p": p})
    return found


def told_apart(table: np.ndarray, truth: np.ndarray, seed: int = 1) -> tuple[float, float]:
    """AUC and its p, of a ridge classifier on (n, features), leaving one out: closed form, by the hat matrix."""
    spread = table.std(axis=0)
    z = (table - table.mean(axis=0))[:, spread > 1e-9] / spread[spread > 1e-9]
    if not z.size:  # all are alike
        return 0.5, 1.0
    n = len(z)
    inner = z @ z.T
    hat = inner @ np.linalg.inv(inner + RIDGE * n * np.eye(n))
    rng = np.random.default_rng(seed)
    truths = np.stack([truth, *(rng.permutation(truth) for _ in range(SHUFFLES))]).astype(float)
    centred, own = truths - truth.mean(), np.diag(hat)
    ranks = rankdata((centred @ hat.T - own * centred) / (1 - own), axis=1)
    positives = truths.sum(axis=1)
    areas = ((ranks * truths).sum(axis=1) - positives * (positives + 1) / 2) / (positives * (n - positives))
    return float(areas[0]), float((1 + (areas[1:] >= areas[0] - 1e-12).sum()) / (SHUFFLES + 1))


# ------------------------------------------------------------------------------------------------ a study that was made


def cheat_at(folder: Path, key_json: Path) -> list[dict[str, Any]]:
    """The same for the folder that readers receive. In a pair each picture counts as one; ratings do not count."""
    sent, generated = [], []
    for picture, is_generated in sent_pictures(Path(folder), key_json):
        sent.append(picture)
        generated.append(is_generated)
    return cheat(sent, generated)


def sent_pictures(folder: Path, key_json: Path) -> list[tuple[Sent, bool]]:
    key, page = read_key(key_json), folder / "index.html"
    match = DATA.search(page.read_text(encoding="utf-8")) if page.is_file() else None
    if not match:
        raise BadInput(f"{folder}: holds no page of a reader study")
    found: list[tuple[Sent, bool]] = []
    for part in json.loads(match[1])["parts"]:
        for question in part["questions"]:
            truth = key.questions.get(question["id"], {}).get("truth")
            if truth is None or part["kind"] not in ("certainty", "pick", "origin") or part["name"] == "match-class":
                continue
            pictures = question.get("pictures") or [question["deep"]]
            real_side = {"pick-generated": {"left": "right", "right": "left"}}.get(part["name"], {}).get(truth, truth)
            for n, picture in enumerate(pictures):
                is_generated = ("left", "right")[n] != real_side if part["kind"] == "pick" else truth == GENERATED
                found.append((_sent(folder, page, picture, len(found)), is_generated))
    return found


def _sent(folder: Path, page: Path, picture: str | dict, place: int) -> Sent:
    if isinstance(picture, str):
        return Sent((base64.b64decode(picture.partition(",")[2]),), "", page.stat().st_mtime, place)
    tiles = sorted((folder / "tiles" / picture["name"]).rglob("*.jpg"))
    return Sent(tuple(path.read_bytes() for path in tiles), picture["name"], tiles[0].stat().st_mtime, place)
