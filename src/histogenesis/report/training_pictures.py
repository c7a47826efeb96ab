"""Small pictures that steps leave beside their results: grids of images, loss curves."""

from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw

matplotlib.use("Agg")
from matplotlib import pyplot as plt

from histogenesis.core.files import written


def save_grid(path: Path, rows: list[np.ndarray], labels: list[str], scale: int | None = None) -> None:
    """One labelled row for each array of images (N, h, w, 3) uint8; small images are enlarged to about 96 px."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scale = scale or max(1, 96 // rows[0].shape[1])
    side, gap, margin = rows[0].shape[1] * scale, 4, 80
    width = margin + max(len(row) for row in rows) * (side + gap)
    sheet = Image.new("RGB", (width, len(rows) * (side + gap) + gap), "white")
    pen = ImageDraw.Draw(sheet)
    for i, (row, label) in enumerate(zip(rows, labels)):
        y = gap + i * (side + gap)
        pen.text((4, y + side // 2 - 6), label, fill="black")
        for j, picture in enumerate(row):
            sheet.paste(
                Image.fromarray(picture).resize((side, side), Image.Resampling.NEAREST), (margin + j * (side + gap), y)
            )
    with written(path) as part:
        sheet.save(part)


def save_sheet(path: Path, pictures: np.ndarray, labels: list[str], columns: int = 16) -> None:
    """All pictures (n, h, w, 3) uint8 in rows of `columns`, class by class, none left out and none chosen."""
    rows: list[np.ndarray] = []
    names: list[str] = []
    for label in dict.fromkeys(labels):
        of_class = pictures[[k for k, other in enumerate(labels) if other == label]]
        rows += [of_class[k : k + columns] for k in range(0, len(of_class), columns)]
        names += [label] + [""] * (len(rows) - len(names) - 1)
    save_grid(path, rows, names, scale=max(1, 32 // pictures.shape[1]))


def plot_losses(path: Path, log: list[dict]) -> None:
    """Training and validation loss against images seen."""
    figure, axes = plt.subplots(figsize=(7, 3.5), layout="constrained")
    images = {line["step"]: line["images"] for line in log if "images" in line}
    trained = [(line["images"], line["loss"]) for line in log if "loss" in line]
    held_out = [
        (images[line["step"]], line["validation_loss"])
        for line in log
        if line.get("step") in images and "validation_loss" in line
    ]
    axes.plot(*zip(*trained), label="training", color="tab:blue")
    if held_out:
        axes.plot(*zip(*held_out), "o-", label="held out (averaged weights)", color="tab:orange", markersize=3)
    axes.set(xlabel="images seen", ylabel="loss", yscale="log")
    axes.grid(alpha=0.3)
    axes.legend()
    with written(path) as part:
        figure.savefig(part, dpi=110, metadata={"Software": None})
    plt.close(figure)
