"""Draw slides with a trained model and nothing else: no training, no evaluation. Goes on where it was stopped."""

import argparse
from itertools import pairwise
from pathlib import Path

from histogenesis.models.card import read_card

EXAMPLES = """\
  histogenesis draw results/demo/models/shared
  histogenesis draw results/demo/models/shared --size-px 96 128 --slides 3 --seed 7 --run drawn
  histogenesis draw path/to/model --mpps 8 4 --recipe-only > recipe.yaml # to change more, and `histogenesis run` it"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="folder of a trained model, or the name of one that ships")
    parser.add_argument("--run", default="drawn", dest="name", help="results are written to results/{RUN}/")
    parser.add_argument("--slides", type=int, default=1, help="how many")
    parser.add_argument("--size-px", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"), help="of the coarsest level")
    parser.add_argument(
        "--mpps", type=float, nargs="+", help="of the levels, coarse to fine; default: all it has learnt"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--label", help="the class to draw, for a model that has learnt classes")
    parser.add_argument("--steps", type=int, default=18, help="of the sampler, at each level")
    parser.add_argument("--cores", default="all")
    parser.add_argument("--recipe-only", action="store_true", help="print the recipe and draw nothing")


def run(args: argparse.Namespace) -> None:
    from histogenesis.commands.run import command, replaced_by
    from histogenesis.recipe import as_yaml

    recipe = drawing_recipe(args)
    text = as_yaml(recipe)
    if args.recipe_only:
        print(text, end="")
        return
    path = Path("results", args.name, "drawing.yaml")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    replaced_by(command(path, "slides", args.cores))


def drawing_recipe(args: argparse.Namespace) -> dict:
    """A recipe that draws with a model at the mpps that it has learnt, each level twice as fine as the one above.

    Raises BadInput for a model that needs more than a level above: that wants a recipe of its own.
    """
    from histogenesis.core.errors import BadInput
    from histogenesis.core.geometry import same_mpp
    from histogenesis.models.shipped import folder_of
    from histogenesis.recipe import parse_recipe

    folder = folder_of(args.model)
    card = read_card(folder)
    section, tile = card["section"], card["patch_px"]
    needs = sorted({"lowres", "context"} & set(section["conditions"]))
    if needs or section["objective"]["kind"] in ("super-resolution", "autoencoder"):
        raise BadInput(
            f"{folder}: does not draw slides alone ({', '.join(needs) or section['objective']['kind']}): write a recipe"
        )
    mpps = sorted(args.mpps or card["mpps"], reverse=True)
    for above, mpp in pairwise(mpps):
        if not same_mpp(above, 2 * mpp):
            raise BadInput(
                f"{folder}: levels double, and {above:g} -> {mpp:g} mpp does not: give --mpps, or write a recipe"
            )
    common = {"model": "shared", "tile_px": tile, "sampler": {"kind": "heun", "steps": args.steps}}
    common |= {"label": args.label} if args.label else {}
    levels = [{"mpp": mpps[0], "size_px": args.size_px or [2 * tile, 3 * tile], **common}]
    levels += [{"mpp": mpps[0] / 2**k, **common, "constraint": {"kind": "null-space"}} for k in range(1, len(mpps))]
    for level in levels[1:]:
        level["constraint"]["relaxation"] = {"sigma": 0.3}
    # Its weights are found from where snakemake runs, whether it is a folder or one that ships.
    model = {"path": args.model} if Path(args.model).is_dir() else {"pretrained": args.model}
    recipe = {"run": args.name, "seed": args.seed, "models": {"shared": model}}
    recipe["synthetic"] = {"slides": args.slides, "levels": levels, "plan": {"method": "all"}}
    parse_recipe(recipe, "the drawing")
    return recipe
