"""Make one level of a synthetic slide from the level above by a baseline: bicubic, TV-L1 or a trained network.

Background is filled as in drawing. It uses no noise, so nothing depends on the seed; a killed run starts over.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from histogenesis.canvas.canvas import Level
from histogenesis.canvas.upscale import Upscaling
from histogenesis.canvas.upscalers import make_upscaler
from histogenesis.core.device import computed_on
from histogenesis.core.errors import BadInput
from histogenesis.recipe import UpscaledLevel
from histogenesis.recipe.identity import section_text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slide", required=True, help="the synthetic slide's name")
    parser.add_argument("--k", type=int, required=True, help="which level; 0 is the coarsest, which cannot be upscaled")
    parser.add_argument("--options", type=section_text, required=True, help="the recipe's level section, as JSON")
    parser.add_argument("--size-px", type=int, nargs=2, required=True, metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--seed", type=int, required=True, help="of the run; only noted in the file")
    parser.add_argument("--model", type=Path, help="the model's folder, where the method has one")
    parser.add_argument("--above", type=Path, required=True, help="the finished level above")
    parser.add_argument("--plan", type=Path, required=True, help="plan.json of the tissue plan, beside its plan.png")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads; part of the recipe, as it rounds")
    parser.add_argument("--out", type=Path, required=True, help="level{k}.h5")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.backends.cudnn.deterministic = True
    device = "cuda" if torch.cuda.is_available() else "cpu"
    section = UpscaledLevel.model_validate_json(args.options)
    try:
        upscaling = Upscaling(
            section=section,
            size_px=tuple(args.size_px),
            k=args.k,
            seed=args.seed,
            slide=args.slide,
            upscaler=make_upscaler(section.method, args.model, device),
            above=Level(args.above),
            plan=np.asarray(Image.open(args.plan.with_suffix(".png"))) > 127,
            background=tuple(json.loads(args.plan.read_text())["background"]),
            device=device,
        )
        upscaling.run(args.out, **computed_on(device))
    except BadInput as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
