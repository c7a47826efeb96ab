"""Slides of one and the same made-up tissue, real ones as a scanner leaves them and synthetic ones as they are drawn: what
differs is how they were handled, and nothing else."""

import numpy as np
from scipy.ndimage import gaussian_filter

from histogenesis.slides.codec import Codec
from histogenesis.study.equal import through
from histogenesis.study.questions import GENERATED, REAL
from histogenesis.study.sources import Source

SIDE = 440  # px of a synthetic slide; real ones are larger
SCANNER = Codec(30, 2)


class PlantedSlide(Source):
    """real: larger, of another mpp, on glass of another tint with noise, through the scanner's JPEG."""

    def __init__(self, kind: str, n: int):
        rng = np.random.default_rng([n, kind == REAL])
        self.name, self.kind, self.digest = f"{kind}_{n}", kind, f"{kind}{n}"
        self.finest_mpp = 0.499 if kind == REAL else 0.5
        side = SIDE + 90 if kind == REAL else SIDE
        self.width_um = self.height_um = side * self.finest_mpp
        y, x = (np.indices((side, side)) - side / 2 - rng.integers(-12, 13, (2, 1, 1))) / (SIDE / 2)
        self.mask = (x / 0.62) ** 2 + (y / 0.7) ** 2 < 1
        coarse, fine = (gaussian_filter(rng.standard_normal((side, side)), s) for s in (6, 1.3))
        field = (coarse / coarse.std() + fine / fine.std())[..., None]
        self.glass = np.array([246, 242, 238] if kind == REAL else [238, 240, 245])
        passes = np.where(self.mask[..., None], np.array([180, 110, 165]) + field * [18, 26, 14], 243) / 243
        pixels = passes * self.glass  # tissue takes its share of the light that comes through glass
        noise = rng.normal(
            0, 0.8, (side, side, 1)
        )  # of the camera: in tissue a model learns it, in glass it is not drawn
        pixels += noise * self.mask[..., None]
        if kind == REAL:
            pixels += noise * ~self.mask[..., None]
        self.image = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
        if kind == REAL:
            self.codec = SCANNER
            self.image = through(self.image, SCANNER)

    def _read(self, x_um, y_um, size_px, mpp):
        step = round(mpp / self.finest_mpp)
        top, left = (round(v / self.finest_mpp) for v in (y_um, x_um))
        part = self.image[top : top + size_px[0] * step, left : left + size_px[1] * step].astype(float)
        return np.rint(part.reshape(size_px[0], step, size_px[1], step, 3).mean(axis=(1, 3))).astype(np.uint8)


def planted(each: int, first: int = 0) -> tuple[list[PlantedSlide], list[PlantedSlide]]:
    numbers = range(first, first + each)
    return [PlantedSlide(REAL, n) for n in numbers], [PlantedSlide(GENERATED, n) for n in numbers]
