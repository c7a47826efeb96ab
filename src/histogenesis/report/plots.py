"""One plot for each measure over the resolutions: the value with its interval between its floor and its ceilings."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from contextlib import AbstractContextManager

import matplotlib

matplotlib.use("Agg")
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.ticker import FixedLocator, NullLocator

INK, FLOOR, CEILING = "#1a1f2b", "#1d6b45", "#a3262a"
DASHES = {"phase": (0, (5, 2)), "bicubic": (0, (1, 1.5))}
NAMES = {"phase": "structureless", "bicubic": "blurred"}


def style() -> AbstractContextManager[None]:
    """How all plots look, within this."""
    return plt.rc_context(
        {
            "font.size": 9,
            "font.family": "sans-serif",
            "svg.fonttype": "none",
            "svg.hashsalt": "histogenesis",
            "axes.spines.top": False,
            "axes.spines.right": False,
        }
    )


def plot_measure(rows: Sequence[dict], title: str) -> str:
    """The rows of one measure and encoder, one for each mpp, as an SVG data URL: the same bytes for the same rows.

    Floor: a band where it has an interval, a line otherwise; ceilings: broken lines. Coarse on the left.
    """
    rows = sorted(rows, key=lambda row: -row["mpp"])
    x = np.arange(len(rows))
    with style():
        figure, axes = plt.subplots(figsize=(3.3, 2.6), layout="constrained")
        _band(axes, x, rows, "floor", FLOOR, "two halves of real")
        _line(axes, x, _column(rows, "patients"), FLOOR, ":", "patients")
        for name in dict.fromkeys(name for row in rows for name in (row.get("ceilings") or {})):
            values = np.array([_value((row.get("ceilings") or {}).get(name)) for row in rows])
            _line(axes, x, values, CEILING, DASHES.get(name, "-."), NAMES.get(name, name))
        value, low, high = (_column(rows, name) for name in ("value", "low", "high"))
        known = np.isfinite(low) & np.isfinite(high)
        errors = np.where(known, [value - low, high - value], 0).clip(0)
        axes.errorbar(x, value, errors, fmt="o-", color=INK, markersize=4, linewidth=1, capsize=2, label="generated")
        axes.xaxis.set_major_locator(FixedLocator(x.tolist()))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticks(x, [f"{row['mpp']:g}" for row in rows])
        axes.set_xlim(-0.4, len(rows) - 0.6)
        axes.set_xlabel("µm per pixel")
        axes.set_title(title, fontsize=9.5, loc="left")
        figure.legend(fontsize=7, frameon=False, loc="outside lower center", ncols=3, columnspacing=1)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
        plt.close(figure)
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue().encode()).decode()


def _band(axes, x, rows, name: str, colour: str, label: str) -> None:
    value, low, high = (_column(rows, part) for part in (name, f"{name}_low", f"{name}_high"))
    low, high = np.where(np.isfinite(low), low, value), np.where(np.isfinite(high), high, value)
    if not np.isfinite(value).any():
        return
    if len(x) == 1:
        x_of_band, low, high = [-0.2, 0.2], np.repeat(low, 2), np.repeat(high, 2)
    else:
        x_of_band = x
    axes.fill_between(x_of_band, low, high, color=colour, alpha=0.18, linewidth=0)
    _line(axes, x, value, colour, "-", label)


def _line(axes, x, values, colour: str, style, label: str) -> None:
    """A line through what is known; a short one where that is a single value."""
    known = np.isfinite(values)
    if known.sum() == 1:
        at = x[known][0]
        axes.plot(
            [at - 0.2, at + 0.2], np.repeat(values[known], 2), color=colour, linestyle=style, linewidth=1, label=label
        )
    elif known.any():
        axes.plot(x[known], values[known], color=colour, linestyle=style, linewidth=1, label=label)


def _column(rows: Sequence[dict], name: str) -> np.ndarray:
    return np.array([_value(row.get(name)) for row in rows])


def _value(found) -> float:
    return float(found) if isinstance(found, int | float) and not isinstance(found, bool) else np.nan
