"""By what a classifier tells cells that were drawn: of two levels below a real one, of one, and of real ones, in several views.

    snakemake -c2 --configfile config/pretrained/cards.yaml -- results/cards/data.json
    python benchmarks/told_by_what.py results/cards [--patches 200]

At 1 um a pixel, patches of 64 px without a canvas, as config/gut.yaml draws them: below a real level at 2; below one that was
drawn at 2, itself below a real level at 4; and other real patches in their place. Views: as they are; light and dark alone;
colour alone (of one luminance); blurred by a Gaussian of 1 and of 2 px. Real patches and drawn ones went through the slides'
codec. A classifier on the features of EfficientNet-lite0 is asked, over folds by blocks of the held-out slide; chance is 50 %.
"""

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter

from cards import coarser, drawn
from histogenesis.evaluation.collect import real_set
from histogenesis.evaluation.sets import Sets
from histogenesis.evaluation.treatment import treated
from histogenesis.metrics.classifier import c2st, logistic
from histogenesis.metrics.distances.blocks import median_blocks
from histogenesis.metrics.encoders.features import encode
from histogenesis.metrics.encoders.registry import load
from histogenesis.models.model import load_model
from histogenesis.models.shipped import folder_of
from histogenesis.recipe import load_recipe

ROOT = Path(__file__).resolve().parent.parent
BLOCKS, MPP, MIDDLE = 20, 1.0, 128


def light(images: np.ndarray) -> np.ndarray:
    return np.stack([np.asarray(Image.fromarray(image).convert("L").convert("RGB")) for image in images])


def colour(images: np.ndarray) -> np.ndarray:
    ycc = np.stack([np.asarray(Image.fromarray(image).convert("YCbCr")) for image in images])
    ycc[..., 0] = MIDDLE
    return np.stack([np.asarray(Image.fromarray(image, "YCbCr").convert("RGB")) for image in ycc])


def blurred(sigma: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda images: np.rint(gaussian_filter(images.astype(float), (0, sigma, sigma, 0))).astype(np.uint8)


VIEWS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "as they are": lambda images: images,
    "light": light,
    "colour": colour,
    "blurred, 1 px": blurred(1),
    "2 px": blurred(2),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder with splits.tsv, slides/ and patches/cells")
    parser.add_argument("--patches", type=int, default=200, help="of each kind")
    args = parser.parse_args()
    torch.set_num_threads(1)
    recipe, encoder, n = load_recipe(ROOT / "config/gut.yaml"), load("efficientnet-lite0"), args.patches
    real = real_set(args.run / "patches/cells", args.run / "splits.tsv", "validation", 2 * n, recipe.seed)
    order = np.random.default_rng(recipe.seed).permutation
    rows = {mpp: order(np.flatnonzero(np.isclose(real.mpp, mpp))) for mpp in (2.0, MPP)}
    given = {mpp: real.take(found[:n]) for mpp, found in rows.items()}
    others = real.take(rows[MPP][n:])

    levels = {level.mpp: level for level in recipe.synthetic.levels}
    own, weaker = (
        load_model(folder_of(recipe.models[name].pretrained), precision=levels[MPP].precision)
        for name in (levels[MPP].model, levels[MPP].weaker)
    )

    def below(above: np.ndarray, mpp: float) -> np.ndarray:
        return drawn(levels[mpp], own, weaker, above, mpp, recipe.seed)

    at_two = below(coarser(given[2.0].images), 2.0)
    quarter = at_two.shape[1] // 4
    middle = at_two[:, quarter : 3 * quarter, quarter : 3 * quarter]
    kinds = {
        "other real ones": given[MPP],
        "drawn below a real level at 2": replace(given[MPP], images=below(coarser(given[MPP].images), MPP)),
        "drawn below one that was drawn": replace(given[2.0], images=below(middle, MPP), mpp=np.full(n, MPP)),
    }
    print(f"| {MPP:g} um/px | {' | '.join(VIEWS)} |\n|---|{'---|' * len(VIEWS)}")
    for kind, made in kinds.items():
        sets = treated(
            Sets(others, others, replace(made, name="generated")), recipe.evaluation, args.run / "slides", args.run
        )
        places = [median_blocks(one.xy, BLOCKS) for one in (others, made)]
        told = []
        for view in VIEWS.values():
            x, y = (encode(encoder, view(one.images), mpp=MPP).astype(float) for one in (sets.held_out, sets.generated))
            told.append(c2st(x, y, *places, logistic, seed=recipe.seed).accuracy)
        print(f"| {kind} | {' | '.join(f'{100 * share:.0f} %' for share in told)} |", flush=True)


if __name__ == "__main__":
    main()
