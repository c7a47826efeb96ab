"""The patches that a survey shows: generated ones with their classes, and held-out real ones of the same, made equal."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from histogenesis.core.errors import BadInput
from histogenesis.patches.dataset import PatchCollection
from histogenesis.patches.store import read_texts
from histogenesis.report.contact import held_out_patches
from histogenesis.study.equal import COVER, GRID_PX, Scanner, as_file, glass_of, scanned
from histogenesis.study.questions import GENERATED, REAL, rng_of, secret_of
from histogenesis.study.sources import hash_of

GLASS_FROM = 500  # patches of each kind whose glass is measured


class SurveyPictures:
    """`take` gives the next picture of a kind and class, never one twice; `files` all that were taken, by their numbers."""

    def __init__(self, patches: Path, splits: Path, samples: Path, seed: int):
        if not samples.is_file():
            raise BadInput(f"{samples}: no such samples; draw them first")
        with h5py.File(samples, "r") as file:
            made, labels = file["imgs"][:], read_texts(file, "label")
        held_out = held_out_patches(patches, splits)
        if not held_out:
            raise BadInput(f"{patches}: no held-out patches to show beside {samples}")
        real: PatchCollection = held_out[0][1]
        self.classes = sorted({label for label in labels if label})
        if len(self.classes) < 2:
            raise BadInput(
                f"{samples}: a survey names classes, and these samples have {len(self.classes)}: draw two or more"
            )
        self.secret = secret_of(seed, [hash_of(made), real.digest])
        rng = rng_of(self.secret, "patches")
        self._read = {GENERATED: lambda n: made[n], REAL: lambda n: real.read(np.array([n]))[0]}
        some = np.linspace(0, len(real) - 1, min(GLASS_FROM, len(real))).astype(int)
        self._glass = {GENERATED: glass_of(made[:GLASS_FROM]), REAL: glass_of(real.read(some))}
        self._left = {}
        for kind, names in ((GENERATED, labels), (REAL, real.label)):
            for label in self.classes:
                rows = np.flatnonzero(np.asarray(names) == label).tolist()
                rng.shuffle(rows)
                self._left[kind, label] = rows
        self._rng = rng
        self._taken: list[tuple[str, int]] = []

    def take(self, kind: str, label: str) -> int:
        rows = self._left[kind, label]
        if not rows:
            raise BadInput(
                f"too few {'real held-out' if kind == REAL else kind} patches of class {label}: lower `each`"
            )
        self._taken.append((kind, rows.pop()))
        return len(self._taken) - 1

    def files(self) -> list[bytes]:
        """What patches went through before they were cut is not known, so both kinds go through one codec more."""
        out, glass = [], self._glass[REAL]
        scanner = Scanner(COVER, None if glass is None else tuple(map(float, glass)))
        for kind, row in self._taken:
            image = self._read[kind](row)
            top, left = self._rng.randrange(GRID_PX), self._rng.randrange(GRID_PX)
            wide = np.pad(image, ((top, GRID_PX), (left, GRID_PX), (0, 0)), mode="symmetric")
            wide = scanned(wide, self._glass[kind], scanner)
            out.append(as_file(wide[top : top + image.shape[0], left : left + image.shape[1]]))
        return out
