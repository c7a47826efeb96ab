"""Sharpness, and the parts of a slide's tissue that are out of focus, by samples of it at about 1 um per pixel."""

from __future__ import annotations

import numpy as np

from histogenesis.slides.read import DamagedPlace, Slide

LINES = 24  # rows, and columns, of a picture that are looked at
FOCUS_MPP, SAMPLE_PX = 1.0, 128
SAMPLES = 400
SOFT = 0.35  # cells in focus have 0.8 or more, blurred by 2 px 0.3 or less
OF_MEDIAN = 0.45  # and under this part of the slide's own median


def line_steps(green: np.ndarray) -> list[np.ndarray]:
    """First differences along some LINES rows and columns of uint8 (h, w): int16 (n, w - 1) and (n, h - 1)."""
    step = max(1, min(green.shape) // LINES)
    return [np.diff(lines.astype(np.int16), axis=1) for lines in (green[::step], green.T[::step])]


def sharpness(steps: list[np.ndarray]) -> float:
    """Energy of second differences over that of first ones (from `line_steps`), whatever the contrast: 3 for white noise."""
    second = sum(float((np.diff(part, axis=1).astype(np.float32) ** 2).mean()) for part in steps)
    return second / (sum(float((part.astype(np.float32) ** 2).mean()) for part in steps) + 1.0)


def out_of_focus(slide: Slide, tissue: np.ndarray, mpp: float) -> tuple[np.ndarray, list[str]]:
    """Where tissue is out of focus, bool (h, w) on the grid of `tissue` at `mpp`, in cells of the sampling; and warnings.

    A slide that is soft all over has none: then nothing is sharper, and the warning says so.
    """
    soft = np.zeros(tissue.shape, bool)
    at_mpp = max(FOCUS_MPP, slide.mpp)
    side = SAMPLE_PX * at_mpp / mpp  # of a sample, in mask pixels
    if not tissue.any() or side < 1:
        return soft, []
    cell = max(int(np.ceil(side)), int(np.sqrt(tissue.sum() / SAMPLES)) or 1)
    found = []
    for top in range(0, tissue.shape[0], cell):
        for left in range(0, tissue.shape[1], cell):
            part = tissue[top : top + cell, left : left + cell]
            if part.mean() < 0.5:
                continue
            rows, columns = np.nonzero(part)
            y, x = top + np.median(rows) - side / 2, left + np.median(columns) - side / 2
            try:
                sample = slide.read(x * mpp / slide.mpp, y * mpp / slide.mpp, SAMPLE_PX, at_mpp)
            except DamagedPlace:
                continue
            found.append((top, left, sharpness(line_steps(sample[..., 1]))))
    if not found:
        return soft, []
    middle = float(np.median([value for *_, value in found]))
    if middle < SOFT:
        return soft, [
            f"the tissue is soft all over (sharpness {middle:.2f}, cells in focus have 0.8): is the slide in focus?"
        ]
    for top, left, value in found:
        if value < min(SOFT, OF_MEDIAN * middle):
            soft[top : top + cell, left : left + cell] = True
    return soft & tissue, []
