"""A study's table: every number of every combination, with an interval over seeds, and whether it differs from the best.

Rows follow the recipe's grid, never the order in which combinations were computed, and hold nothing that varies between runs.
"""

from __future__ import annotations

import math
from collections import defaultdict
from pathlib import Path

import matplotlib
import numpy as np
from scipy import stats

from histogenesis.core.errors import BadInput
from histogenesis.core.files import write_json, write_rows, written
from histogenesis.core.whole import load_json
from histogenesis.evaluation.evaluate_samples import ALL
from histogenesis.metrics.distances.intervals import t_interval
from histogenesis.recipe import Cell, Winner

matplotlib.use("Agg")
from matplotlib import pyplot as plt

COLUMNS = (
    *("samples", "combination", "class", "metric", "encoder", "value", "low", "high", "seeds", "interval"),
    *("floor", "better", "best", "apart_from_best", "each"),
)
PLOTTED = 6  # metrics in the picture, at most


def numbers_of(folder: Path) -> list[dict]:
    """What was measured of one set of samples: metrics.json, and utility.json where there is one.

    `class recognised`: how often a classifier that learnt from real patches finds the class that a generated one was to have.
    """
    try:
        found = load_json(folder / "metrics.json")
    except FileNotFoundError:
        raise BadInput(f"{folder}: these samples were not evaluated; run evaluate_samples.py first") from None
    if not (folder / "utility.json").exists():
        return found
    utility = load_json(folder / "utility.json")
    named = {f"accuracy, trained on {arm}": part for arm, part in utility["arms"].items()}
    for name, part in (named | {"class recognised": utility["recognised"]}).items():
        about = {"name": name, "encoder": "classifier", "class": ALL, "better": "higher", "floor": None}
        found.append(about | {k: part[k] for k in ("value", "low", "high")})
    return found


def study_table(cells: list[Cell], evaluation: Path) -> list[dict]:
    """One row for each samples, combination, class, metric and encoder. evaluation: the folder of {samples}/metrics.json.

    value: the mean over seeds; low and high: Student's 95 % interval over them (with one seed: the interval of its own
    evaluation, by subsampling patches). best: the combination whose mean is best. apart_from_best: whether Welch's 95 %
    interval of the difference to the best leaves 0 out; empty for the best, and for a single seed.
    """
    found: dict[tuple, dict[str, list[dict]]] = defaultdict(dict)
    variants = {(base, name): cell for cell in cells for base, name in cell.samples.items()}  # cells may share samples
    for (base, name), cell in sorted(variants.items(), key=lambda item: item[1].seed):
        for one in numbers_of(evaluation / name):
            if one["value"] is not None and math.isfinite(one["value"]):
                key = base, one["class"], one["name"], one["encoder"]
                found[key].setdefault(cell.names[base], []).append(one)
    order = list(dict.fromkeys(cell.names[base] for cell in cells for base in sorted(cell.names)))
    rows = []
    for (base, label, metric, encoder), by_cell in sorted(found.items()):
        sign = 1 if next(iter(by_cell.values()))[0]["better"] == "lower" else -1
        values = {name: [one["value"] for one in by_cell[name]] for name in order if name in by_cell}
        best = min(values, key=lambda name: sign * np.mean(values[name]))
        for name, each in values.items():
            mean, low, high = t_interval(each)
            one = by_cell[name][0]
            if len(each) == 1:
                low, high = one["low"], one["high"]
            rows.append(
                {
                    "samples": base,
                    "combination": name,
                    "class": label,
                    "metric": metric,
                    "encoder": encoder,
                    "value": mean,
                    "low": low,
                    "high": high,
                    "seeds": len(each),
                    "interval": "over seeds" if len(each) > 1 else "of one seed, by subsampling",
                    "floor": None if one["floor"] is None else float(np.mean([o["floor"] for o in by_cell[name]])),
                    "better": one["better"],
                    "best": name == best,
                    "apart_from_best": None if name == best else apart(each, values[best]),
                    "each": each,
                }
            )
    return sorted(rows, key=lambda r: (r["samples"], r["class"] != ALL, r["class"], order.index(r["combination"])))


def apart(a: list[float], b: list[float]) -> bool | None:
    """Whether two means differ by more than their spread over seeds says that chance does (Welch, 95 %); None: not known."""
    if min(len(a), len(b)) < 2:
        return None
    if np.ptp(a) == np.ptp(b) == 0:
        return bool(a[0] != b[0])
    interval = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    return not interval.low <= 0 <= interval.high


def choose_winner(rows: list[dict], cells: list[Cell], models: dict[str, dict], winner: Winner) -> dict:
    """The combination with the best mean, and the model section that it was trained with. models: name -> its section."""
    wanted = {"samples": winner.samples, "metric": winner.metric, "encoder": winner.encoder, "class": ALL}
    found = [row for row in rows if all(row[key] == value for key, value in wanted.items())]
    best = next((row for row in found if row["best"]), None)
    if best is None:
        raise BadInput(
            f"study.winner: {winner.metric} by {winner.encoder} was measured for no combination; choose another"
        )
    same = [c for c in cells if c.names[winner.samples] == best["combination"]]
    cell = min(same, key=lambda c: c.seed)
    section = models[cell.models[winner.samples]]
    others = [row for row in found if not row["best"]]
    return {
        "combination": best["combination"],
        "values": cell.values,
        "judged_by": wanted,
        "value": best["value"],
        "apart_from_all_others": all(row["apart_from_best"] for row in others) if others else None,
        "model": {k: v for k, v in section.items() if k != "patches"} | {"patches": section["patches"]},
    }


def write_study(out: Path, rows: list[dict]) -> None:
    """table.json, table.csv and study.png in one folder; each appears whole or not at all."""
    out.mkdir(parents=True, exist_ok=True)
    clean = [{k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()} for row in rows]
    write_json(out / "table.json", clean, allow_nan=False)
    write_rows(
        out / "table.csv", COLUMNS, ({**row, "each": " ".join(f"{v:.6g}" for v in row["each"])} for row in clean)
    )
    with written(out / "study.png") as part:
        plot_study(part, clean)


def plot_study(path: Path, rows: list[dict]) -> None:
    """Of all classes together: each seed's value, the mean and its interval, and the floor as a line."""
    rows = [row for row in rows if row["class"] == ALL]
    first = ("fid", "kid", "ssim", "likelihood", "coverage")
    rank = [*first, *sorted({r["metric"] for r in rows} - set(first))]
    kinds = sorted({(rank.index(r["metric"]), r["metric"], r["encoder"]) for r in rows})
    kinds = sorted(kinds, key=lambda k: (not k[1].startswith("accuracy"), k))[:PLOTTED]
    figure, axes = plt.subplots(1, max(1, len(kinds)), figsize=(3.2 * max(1, len(kinds)), 4), layout="constrained")
    for ax, (_, metric, encoder) in zip(np.atleast_1d(axes), kinds):
        plotted = [row for row in rows if (row["metric"], row["encoder"]) == (metric, encoder)]
        for k, row in enumerate(plotted):
            ax.plot([k] * len(row["each"]), row["each"], "o", color="tab:blue", alpha=0.4)
            if row["low"] is not None:
                ends = [[max(0, row["value"] - row["low"])], [max(0, row["high"] - row["value"])]]
                ax.errorbar(k + 0.2, row["value"], ends, fmt="s", color="k", markersize=4)
            if row["floor"] is not None:
                ax.plot([k - 0.3, k + 0.3], [row["floor"]] * 2, ":", color="tab:green")
        names = [f"{row['samples']}\n{row['combination']}".replace("_", "\n") for row in plotted]
        ax.set_xticks(range(len(plotted)), names, fontsize=6)
        ax.set_title(f"{metric}\n{encoder}", fontsize=8)
        ax.grid(axis="y", alpha=0.3)
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)
