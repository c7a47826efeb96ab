"""The picture of a reader study: how often each reader was right, which certainty each slide got, and ratings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from histogenesis.study.questions import CERTAINTY, GENERATED, RATINGS

BLUE, GREY, INK = "#2459a8", "#8a92a3", "#1a1f2b"
WIDTH_IN, DPI = 9.0, 130


def draw_analysis(found: dict[str, Any], out: Path) -> None:
    """One panel for each part; of certainties two. Nothing is drawn of parts without answers."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels: list[tuple[float, Any, dict]] = []
    for part in found["parts"]:
        if part["kind"] == "rate":
            panels += [(0.4 + 0.34 * len(part["ratings"]), marks, part)] if part["ratings"] else []
            continue
        if part["by_reader"]:
            panels.append((0.7 + 0.3 * (len(part["by_reader"]) + 1), shares, part))
        if part.get("ratings") and part["by_reader"]:
            panels.append((1.0 + 0.28 * len(part["by_reader"]), certainties, part))
    heights = [height + 0.55 for height, _, _ in panels] or [1.0]
    figure = Figure(figsize=(WIDTH_IN, sum(heights)), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    for (_, draw, part), axis in zip(panels, axes):
        draw(axis, part)
    if not panels:
        axes[0].axis("off")
        axes[0].text(0.5, 0.5, "no answers yet", ha="center", color=INK)
    figure.savefig(out, metadata={"Software": None})


def shares(axis, part: dict) -> None:
    """Each reader's share of right answers with its exact interval, all together with that over readers and cases."""
    rows = [(row["reader"], row["value"], row["low"], row["high"], BLUE) for row in part["by_reader"] if row["n"]]
    pooled = part["pooled"]
    low, high = pooled["by_both"] if pooled["by_both"][0] is not None else pooled["by_case"]
    rows.append(("all", pooled["value"], low, high, INK))
    for y, (_, value, low, high, colour) in enumerate(rows):
        if low is not None:
            axis.plot([low, high], [y, y], color=colour, lw=2)
        axis.plot([value], [y], "o", color=colour)
    axis.axvline(pooled["chance"], color=GREY, ls="--", lw=1)
    axis.text(pooled["chance"], len(rows) - 0.55, " guessing", color="#4a5162", va="bottom", fontsize=8)
    axis.set(
        yticks=range(len(rows)), yticklabels=[row[0] for row in rows], xlim=(-0.02, 1.02), ylim=(len(rows) - 0.5, -0.5)
    )
    axis.set_title(f"{part['title']}: share of right answers, 95 % intervals", fontsize=10, loc="left", color=INK)


def certainties(axis, part: dict) -> None:
    """Readers by slides, the colour of each rating: real slides left, synthetic ones right of the line (Harb 2024, figure
    11)."""
    truth = part["ratings"]["truth"]
    given = [[np.nan if v is None else float(v) for v in row] for row in part["ratings"]["given"]]
    order = sorted(range(len(truth)), key=lambda n: (truth[n] == GENERATED, n))
    picture = np.array(given)[:, order]
    shown = axis.imshow(picture, cmap="PuOr_r", vmin=1, vmax=len(CERTAINTY), aspect="auto", interpolation="nearest")
    real = sum(one != GENERATED for one in truth)
    axis.axvline(real - 0.5, color=INK, lw=2)
    axis.set(yticks=range(len(given)), yticklabels=[row["reader"] for row in part["by_reader"]], xticks=[])
    axis.set_xlabel(f"{real} real slides | {len(truth) - real} synthetic slides", fontsize=9)
    axis.set_title(f"{part['title']}: certainty", fontsize=10, loc="left", color=INK)
    bar = axis.figure.colorbar(shown, ax=axis, ticks=[1, len(CERTAINTY)], fraction=0.05)
    bar.ax.set_yticklabels([CERTAINTY[0], CERTAINTY[-1]], fontsize=8)


def marks(axis, part: dict) -> None:
    """How the marks of each class and scale are spread, and their mean."""
    rows = part["ratings"]
    shades = ["#b35806", "#f1a340", "#d8d8dd", "#998ec3", "#542788"]
    for y, row in enumerate(rows):
        left = 0.0
        for mark, shade in zip(RATINGS, shades):
            width = row["marks"][str(mark)] / row["n"]
            axis.barh(y, width, left=left, color=shade, label=str(mark) if y == 0 else None, height=0.7)
            left += width
        axis.text(1.01, y, f"mean {row['mean']:.2f}", va="center", fontsize=8, color=INK)
    axis.set(yticks=range(len(rows)), yticklabels=[f"{row['class']}: {row['scale']}" for row in rows], xlim=(0, 1.12))
    axis.set_xticks([0, 0.5, 1], ["0", "half of the marks", "all"])
    axis.invert_yaxis()
    axis.legend(ncols=5, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1.0), frameon=False, title=None)
    axis.set_title(f"{part['title']}: 1 unrealistic, 5 like real", fontsize=10, loc="right", color=INK)
