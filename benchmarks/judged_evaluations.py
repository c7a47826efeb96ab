"""How many evaluations cells take, by a classifier and a kernel distance on patches of the held-out patient, with intervals.

    snakemake -c2 --configfile config/pretrained/cards.yaml -- results/cards/data.json
    python benchmarks/judged_evaluations.py results/cards [--evaluations 5 6 7] [--patches 200] [--unguided 0.5]

Below as many real places of the held-out slide at 4 um a pixel cells are drawn at 2 um, below the middle of these at 1, and of
these at 0.5, as config/gut.yaml draws them, but alone: patches of 64 px, no canvas. --unguided: levels that are not led away,
as the demo draws its last. Each number of evaluations starts from the same noise at the same places, so that two of them are
compared place by place; what was drawn stays in RUN/evaluations. Real patches are others of that slide; both went through the
slides' codec. Features are those of EfficientNet-lite0. Intervals are over blocks of the slide, 20 of either side, as there is
one patient.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from cards import coarser, drawn
from histogenesis.core.geometry import same_mpp
from histogenesis.evaluation.collect import real_set
from histogenesis.evaluation.sets import Sets
from histogenesis.evaluation.treatment import treated
from histogenesis.metrics.classifier import c2st, logistic
from histogenesis.metrics.distances.blocks import median_blocks
from histogenesis.metrics.distances.intervals import by_name, group_interval, t_interval
from histogenesis.metrics.distances.kernel import mmd2, polynomial
from histogenesis.metrics.encoders.features import encode
from histogenesis.metrics.encoders.registry import load
from histogenesis.models.model import load_model
from histogenesis.models.shipped import folder_of
from histogenesis.recipe import load_recipe

ROOT = Path(__file__).resolve().parent.parent
BLOCKS = 20


def cascade(evaluations: int, recipe, above: np.ndarray, unguided: list[float]) -> dict[float, np.ndarray]:
    """mpp -> patches, each level below the middle of the one before."""
    found = {}
    for level in (one for one in recipe.synthetic.levels if one.model == "cells"):
        own, weaker = (
            load_model(folder_of(recipe.models[name].pretrained), precision=level.precision)
            for name in (level.model, level.weaker)
        )
        sampler = level.sampler.model_copy(update={"steps": evaluations})
        free = same_mpp(level.mpp, unguided).any()
        found[level.mpp] = drawn(
            level.model_copy(update={"sampler": sampler}), own, None if free else weaker, above, level.mpp, recipe.seed
        )
        quarter = found[level.mpp].shape[1] // 4
        above = found[level.mpp][:, quarter : 3 * quarter, quarter : 3 * quarter]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder with splits.tsv, slides/ and patches/cells")
    parser.add_argument("--evaluations", type=int, nargs="+", default=[5, 6, 7])
    parser.add_argument("--patches", type=int, default=200, help="at each mpp")
    parser.add_argument("--unguided", type=float, nargs="*", default=[0.5], metavar="MPP")
    args = parser.parse_args()
    torch.set_num_threads(1)
    recipe, encoder = load_recipe(ROOT / "config/gut.yaml"), load("efficientnet-lite0")
    real = real_set(args.run / "patches/cells", args.run / "splits.tsv", "validation", 2 * args.patches, recipe.seed)
    order = np.random.default_rng(recipe.seed).permutation
    rows = {mpp: order(np.flatnonzero(real.mpp == mpp)) for mpp in sorted(set(real.mpp.tolist()), reverse=True)}
    below = real.take(rows[max(rows)][: args.patches])
    where = median_blocks(below.xy, BLOCKS)
    others = {mpp: real.take(found[args.patches :]) for mpp, found in rows.items()}
    made = {}
    for n in args.evaluations:
        file = args.run / f"evaluations/{n}-{args.patches}-{'-'.join(f'{mpp:g}' for mpp in args.unguided)}.npz"
        if not file.is_file():
            file.parent.mkdir(exist_ok=True)
            found = cascade(n, recipe, coarser(below.images), args.unguided)
            np.savez(file, **{f"{mpp:g}": images for mpp, images in found.items()})
        made[n] = {float(mpp): images for mpp, images in np.load(file).items()}
    most = max(made)
    print(f"| mpp | evaluations | kernel distance | beyond {most} | a classifier is right on | less than of {most} |")
    print("|---|---|---|---|---|---|")
    for mpp, held_out in others.items():
        places, features, right = median_blocks(held_out.xy, BLOCKS), {}, {}
        units = [by_name(label, "block") for label in (places, where)]
        for n in sorted(made, reverse=True):
            generated = replace(below, name="generated", images=made[n][mpp], mpp=np.full(len(below), mpp))
            sets = treated(Sets(held_out, held_out, generated), recipe.evaluation, args.run / "slides", args.run)
            if n == most:
                x = encode(encoder, sets.held_out.images, mpp=mpp).astype(float)
            features[n] = y = encode(encoder, sets.generated.images, mpp=mpp).astype(float)

            def distance(real, place, y=y, x=x) -> float:
                return mmd2(x[real], y[place], polynomial)

            def beyond(real, place, distance=distance, y=features[most], x=x) -> float:
                return distance(real, place) - mmd2(x[real], y[place], polynomial)

            found = c2st(x, y, places, where, logistic, seed=recipe.seed)
            right[n] = np.array([(found.second[where == k] >= 0.5).mean() for k in range(BLOCKS)])
            share = found.accuracy, *t_interval(found.of_groups(places, where))[1:]
            cells = [with_interval(distance, len(x), len(y), units, squared=True)]
            cells += ["" if n == most else with_interval(beyond, len(x), len(y), units)]
            cells += ["{:.0f} % ({:.0f} to {:.0f})".format(*(100 * v for v in share))]
            cells += [
                ""
                if n == most
                else "{:.1f} % ({:.1f} to {:.1f})".format(*(100 * v for v in t_interval(right[most] - right[n])))
            ]
            print(f"| {mpp:g} | {n} | {' | '.join(cells)} |", flush=True)


def with_interval(statistic, n: int, m: int, units: list, squared: bool = False) -> str:
    """Of rows of both sides, of which whole blocks are left out."""
    rows = [np.arange(n), np.arange(m)]
    value = statistic(*rows)
    around = group_interval(statistic, rows, value, units, squared=squared)
    return f"{value:.2f} ({around.low[0]:.2f} to {around.high[0]:.2f})"


if __name__ == "__main__":
    main()
