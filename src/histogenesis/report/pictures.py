"""Pictures for the report: overviews, zooms with scale bars, and any picture as a data URL of a sensible size."""

from __future__ import annotations

import base64
import io
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFile, ImageFont

from histogenesis.metrics.coherence.cross_scale import pooled
from histogenesis.metrics.coherence.strips import on_grid

INK = (20, 24, 33)


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """The font that matplotlib carries: the same on every machine, and it has µ (Pillow's own has not)."""
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf", size)


@dataclass(frozen=True)
class Zoom:
    """A square window of a level: top left corner and side in px of that level, and its picture with a scale bar."""

    level: int
    y: int
    x: int
    side: int
    mpp: float
    picture: Image.Image


def data_url(picture: Image.Image, long_side: int | None = None, quality: int = 90) -> str:
    """The picture as JPEG (PNG if that is smaller, as for line drawings), shrunk to long_side if it is larger."""
    picture = picture.convert("RGB")
    if long_side and max(picture.size) > long_side:
        picture = picture.copy()
        picture.thumbnail((long_side, long_side), Image.Resampling.LANCZOS, reducing_gap=3)
    found = []
    # PNG's own "optimize" saves 1 % and takes five times as long.
    for kind, options in (("jpeg", {"quality": quality, "subsampling": 0, "optimize": True}), ("png", {})):
        buffer = io.BytesIO()
        # Pillow optimises a JPEG in one buffer, which is too small for a picture that is mostly noise
        ImageFile.MAXBLOCK = max(ImageFile.MAXBLOCK, 3 * picture.width * picture.height)
        picture.save(buffer, kind, **options)
        found.append((len(buffer.getvalue()), kind, buffer.getvalue()))
    _, kind, content = min(found)
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def file_url(path: Path, long_side: int) -> str:
    """A picture file as a data URL; raises OSError when it is no picture."""
    with Image.open(path) as picture:
        return data_url(picture, long_side)


def length_text(um: float) -> str:
    """A length in the unit that a reader expects."""
    return f"{um / 1000:g} mm" if um >= 1000 else f"{um:g} µm"


def round_length(um: float) -> float:
    """The largest of 1, 2, 5 x 10^n that is not longer than um."""
    power = 10.0 ** math.floor(math.log10(um))
    return max(step * power for step in (1, 2, 5) if step * power <= um * (1 + 1e-9))


def with_scale_bar(picture: Image.Image, mpp: float, text_px: int | None = None) -> Image.Image:
    """The picture with a scale bar of a third of its width at most, at the lower left, on a white plate.

    mpp is that of the picture as given (after any enlarging).
    """
    picture = picture.convert("RGB")
    um = round_length(picture.width * mpp / 3)
    bar, text = round(um / mpp), length_text(um)
    size = text_px or max(11, picture.width // 14)
    draw = ImageDraw.Draw(picture)
    left, _, right, bottom = font(size).getbbox(text)
    pad, thick = size // 3, max(2, size // 5)
    plate = max(bar, right - left) + 2 * pad, bottom + thick + 3 * pad
    y0 = picture.height - plate[1] - pad
    draw.rectangle((pad, y0, pad + plate[0], y0 + plate[1]), fill="white")
    draw.text((2 * pad, y0 + pad // 2), text, fill=INK, font=font(size))
    end = y0 + plate[1] - pad
    draw.rectangle((2 * pad, end - thick, 2 * pad + bar - 1, end - 1), fill=INK)
    return picture


def overview(levels: list, long_side: int = 1000) -> Image.Image:
    """A whole synthetic slide, long_side px at most, averaged from the coarsest level that is not smaller than that.

    levels: canvases (H, W, 3) uint8, coarsest first, read in strips.
    """
    large = [image for image in levels if max(image.shape[:2]) >= long_side]
    image = large[0] if large else levels[-1]
    height, width = image.shape[:2]
    scale = min(1, long_side / max(height, width))
    size = max(1, round(height * scale)), max(1, round(width * scale))
    small = np.concatenate([band for _, band in pooled(image, *size)])
    return Image.fromarray(np.clip(np.rint(small), 0, 255).astype(np.uint8))


def zooms(levels: list, mpps: list[float], plan: np.ndarray, side_px: int = 256, shown_px: int = 384) -> list[Zoom]:
    """One place at each level: a window of side_px (or the whole, where smaller) about the densest tissue.

    The place is that of the finest level's window with most tissue, nearest the middle of the slide.
    """
    fine_y, fine_x = _densest(plan, min(1.0, side_px / max(1, min(levels[-1].shape[:2]))))
    found = []
    for k, (image, mpp) in enumerate(zip(levels, mpps)):
        height, width = image.shape[:2]
        side = min(side_px, height, width)
        y = min(max(round(fine_y * height - side / 2), 0), height - side)
        x = min(max(round(fine_x * width - side / 2), 0), width - side)
        times = max(1, round(shown_px / side))
        picture = Image.fromarray(image[y : y + side, x : x + side])
        picture = picture.resize((side * times, side * times), Image.Resampling.NEAREST)
        found.append(Zoom(k, y, x, side, mpp, with_scale_bar(picture, mpp / times)))
    return found


def framed(picture: Image.Image, windows: list[Zoom], levels: list) -> Image.Image:
    """The overview with a frame around each zoom's window, and the numbers of the levels that it is shown at."""
    picture = picture.convert("RGB")
    boxes: dict[tuple[int, ...], list[int]] = {}
    for zoom in windows:
        height, width = levels[zoom.level].shape[:2]
        fy, fx = picture.height / height, picture.width / width
        sides = zoom.x * fx, zoom.y * fy, (zoom.x + zoom.side) * fx - 1, (zoom.y + zoom.side) * fy - 1
        grow = max(0, 3 - (sides[2] - sides[0]) / 2)  # so that the smallest can be seen
        box = tuple(round(side + grow * sign) for side, sign in zip(sides, (-1, -1, 1, 1)))
        boxes.setdefault(box, []).append(zoom.level)
    draw, size = ImageDraw.Draw(picture), max(11, picture.width // 55)
    for box, numbers in boxes.items():
        draw.rectangle(box, outline="white", width=4)
        draw.rectangle([box[0] + 1, box[1] + 1, box[2] - 1, box[3] - 1], outline=INK, width=2)
        label = ", ".join(map(str, numbers))
        draw.rectangle((box[0], box[1], box[0] + font(size).getlength(label) + 8, box[1] + size + 6), fill=INK)
        draw.text((box[0] + 4, box[1] + 1), label, fill="white", font=font(size))
    return picture


def box_means(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """Mean of every height x width window of a 2D array; element (y, x) is the window with that top left corner."""
    table = np.pad(mask.astype(np.float64), ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    sums = table[height:, width:] - table[:-height, width:] - table[height:, :-width] + table[:-height, :-width]
    return sums / (height * width)


def tissue_shares(plan: np.ndarray, corners: np.ndarray, side: int, height: int, width: int) -> np.ndarray:
    """Share of tissue of square windows (n, 2: y, x; px of a level of height x width), by the tissue plan."""
    return np.array([on_grid(plan, y, y + side, height, width)[:, x : x + side].mean() for y, x in corners])


def _densest(plan: np.ndarray, share: float) -> tuple[float, float]:
    """Centre (y, x; as fractions of the slide) of the window, `share` of the shorter side, with most tissue."""
    side = max(1, round(share * min(plan.shape)))
    means = box_means(plan, side, side)
    rows, columns = np.nonzero(means >= means.max() - 1e-9)
    far = (rows + side / 2 - plan.shape[0] / 2) ** 2 + (columns + side / 2 - plan.shape[1] / 2) ** 2
    best = np.argmin(far)
    return (rows[best] + side / 2) / plan.shape[0], (columns[best] + side / 2) / plan.shape[1]
