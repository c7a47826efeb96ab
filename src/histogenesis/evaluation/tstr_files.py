"""What "train on synthetic, test on real" leaves behind: utility.json and a plot of accuracies and confusion matrices."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot as plt

from histogenesis.core.files import write_text, written


def write_tstr(folder: str | Path, found: dict) -> None:
    """found: of evaluation.tstr.tstr. Files are written to a temporary name and renamed."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    clean = json.dumps(found, indent=1).replace("NaN", "null")  # one seed has no interval
    write_text(folder / "utility.json", clean + "\n")
    with written(folder / "utility.png") as part:
        _plot(part, found)


def _plot(path, found):
    arms, classes = found["arms"], found["classes"]
    tables = {f"trained on {name}": part for name, part in arms.items()}
    tables |= {"generated patches,\nby real's classifier": found["recognised"]}
    figure, axes = plt.subplots(1, 1 + len(tables), figsize=(3.4 * (1 + len(tables)), 3.4), layout="constrained")
    for i, part in enumerate(arms.values()):
        axes[0].plot(np.full(len(part["accuracy"]), i), part["accuracy"], "o", color="tab:blue", alpha=0.4)
        if np.isfinite(part["low"]):
            axes[0].errorbar(
                i + 0.2, part["value"], [[part["value"] - part["low"]], [part["high"] - part["value"]]], color="k"
            )
        axes[0].plot(i + 0.2, part["value"], "s", color="k", markersize=4)
    axes[0].set(xlim=(-0.5, len(arms) - 0.3), ylabel="accuracy on held-out real patches", title=found["network"])
    axes[0].set_xticks(range(len(arms)), [name.replace(" + ", "\n+ ") for name in arms])
    axes[0].grid(axis="y", alpha=0.3)
    for ax, (name, part) in zip(axes[1:], tables.items()):
        table = np.array(part["confusion"], float)
        share = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
        ax.imshow(share, vmin=0, vmax=1, cmap="Blues")
        for (y, x), value in np.ndenumerate(share):
            ax.text(x, y, f"{100 * value:.0f} %", ha="center", va="center", color="white" if value > 0.5 else "black")
        ax.set(title=name, xlabel="found", ylabel="true")
        ax.set_xticks(range(len(classes)), classes)
        ax.set_yticks(range(len(classes)), classes)
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)
