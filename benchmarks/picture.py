"""Generated tissue below real tissue, at the same scale: the picture of the README and of the model cards.

    python benchmarks/picture.py --levels results/redraw/synthetic/redraw_1 --slide slides/held_out.tif --mpps 2 1 0.5 \\
        --real-at 3456 6856 --drawn-at 0.5 0.5 --out docs/pictures/redraw.jpg

real-at: x, y of the real crops' common centre, in the slide's own pixels; drawn-at: that of the generated ones, as fractions of
the canvas. Every crop has the same number of pixels, so each column shows a quarter of the area of the one before; one that
would be wider than --um (a whole canvas, say) is so wide, and enlarged.
"""

import argparse
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from histogenesis.core.geometry import same_mpp, served_mpp
from histogenesis.metrics.coherence.strips import open_levels
from histogenesis.report.pictures import INK, font, with_scale_bar
from histogenesis.slides.read import open_slide

GAP_PX, TITLE_PX = 8, 30


def real_crops(path: Path, centre: tuple[int, int], crops: dict[float, int], mpp: float | None) -> list[np.ndarray]:
    """One RGB crop for each mpp of `crops`, so many px wide."""
    with open_slide(path, mpp) as slide:
        sides = {mpp: px * served_mpp(mpp, slide.mpp) / slide.mpp for mpp, px in crops.items()}
        return [
            slide.read(centre[0] - sides[mpp] / 2, centre[1] - sides[mpp] / 2, px, served_mpp(mpp, slide.mpp))
            for mpp, px in crops.items()
        ]


def drawn_crops(folder: Path, centre: tuple[float, float], crops: dict[float, int]) -> list[np.ndarray]:
    with ExitStack() as stack:
        levels = [stack.enter_context(file) for file in open_levels(folder)]
        found = []
        for mpp, px in crops.items():
            image = next(file["image"] for file in levels if same_mpp(mpp, float(file.attrs["mpp"])))
            x, y = (
                min(max(0, round(c * n - px / 2)), max(0, n - px))
                for c, n in zip(centre, (image.shape[1], image.shape[0]))
            )
            found.append(image[y : y + px, x : x + px])
        return found


def sheet(rows: list[tuple[str, list[np.ndarray]]], mpps: list[float], px: int) -> Image.Image:
    """Rows of crops under their titles, a scale bar in each crop of the first row."""
    size = (len(mpps) * (px + GAP_PX) - GAP_PX, len(rows) * (px + TITLE_PX + GAP_PX) - GAP_PX)
    picture = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(picture)
    for row, (title, crops) in enumerate(rows):
        top = row * (px + TITLE_PX + GAP_PX)
        for column, (mpp, crop) in enumerate(zip(mpps, crops)):
            left = column * (px + GAP_PX)
            draw.text((left + 2, top + 4), f"{title}, {mpp:g} µm/px", fill=INK, font=font(18))
            cell = Image.fromarray(crop).resize((px, px), Image.Resampling.NEAREST)
            picture.paste(with_scale_bar(cell, mpp * crop.shape[1] / px), (left, top + TITLE_PX))
    return picture


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--levels", type=Path, required=True, help="folder of a synthetic slide's level0.h5, ...")
    parser.add_argument("--slide", type=Path, required=True, help="a real slide")
    parser.add_argument("--slide-mpp", type=float, help="where it does not say it")
    parser.add_argument("--mpps", type=float, nargs="+", required=True)
    parser.add_argument("--real-at", type=int, nargs=2, required=True)
    parser.add_argument("--drawn-at", type=float, nargs=2, default=(0.5, 0.5))
    parser.add_argument("--px", type=int, default=400)
    parser.add_argument("--um", type=float, default=float("inf"), help="no crop is wider")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    crops = {mpp: int(min(args.px, args.um / mpp)) for mpp in args.mpps}
    real = real_crops(args.slide, args.real_at, crops, args.slide_mpp)
    drawn = drawn_crops(args.levels, args.drawn_at, crops)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    sheet([("real", real), ("generated", drawn)], args.mpps, args.px).save(args.out, quality=88)


if __name__ == "__main__":
    main()
