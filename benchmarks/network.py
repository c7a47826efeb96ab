"""What each network of the recipes costs: weights, GMAC a picture, TFLOP and GB per megapixel, and the least time that means.

    python benchmarks/network.py [recipe.yaml ...] [--tflops 788] [--tbs 4.3]

Counted without running it (models/costs.py). Beside it what was published of the same network, where that is known; the limits
are what a card computes and copies, by default what was measured of an H200: bfloat16 products and a copy.
"""

import argparse
from pathlib import Path

from histogenesis.models.costs import cost
from histogenesis.recipe import load_recipe

ROOT = Path(__file__).resolve().parent.parent
RECIPES = ["harb", "urcdm", "son", "diffusion4path", "config"]
PUBLISHED = {  # millions of weights, GMAC a picture
    ("harb", "shared"): "EDM's SongUNet at these sizes: 32.33 M, 132.3",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", type=Path, default=[ROOT / f"config/{name}.yaml" for name in RECIPES])
    parser.add_argument("--tflops", type=float, default=788, help="bfloat16 products, 10^12 a second")
    parser.add_argument("--tbs", type=float, default=4.3, help="bytes of a copy, 10^12 a second")
    args = parser.parse_args()
    print("per Mpx and evaluation, bfloat16".rjust(86))
    print("recipe, model                  px   M weights    GMAC   kernels   TFLOP  GB eager  fused   ms: FLOP  bytes")
    for path in args.recipes:
        recipe = load_recipe(path)
        for name, model in recipe.trained_models.items():
            patches = recipe.patches[model.patches]
            px = getattr(model.training, "crop_px", None) or patches.size_px
            one = cost(model, px // model.latent_px)
            each = one.over(px**2 / 1e6)
            print(
                f"{path.stem + ', ' + name:28} {px:5}  {one.parameters / 1e6:10.2f} {one.flop / 2e9:7.1f} {one.kernels:9}"
                f" {each.flop / 1e12:7.3f} {each.bytes_eager / 1e9:9.1f} {each.bytes_fused / 1e9:6.1f}"
                f" {each.flop / args.tflops / 1e9:10.2f} {each.bytes_fused / args.tbs / 1e9:6.2f}"
                f"  {PUBLISHED.get((path.stem, name), '')}",
                flush=True,
            )


if __name__ == "__main__":
    main()
