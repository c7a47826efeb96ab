"""Draw patches with a trained model: so many of each class, as a patch file, and a sheet that shows all of them.

Run again after it was killed or stopped, it goes on after the last finished batch and gives the same pictures.
"""

import argparse
import json
import shutil
import sys
from hashlib import blake2b, file_digest
from pathlib import Path

import numpy as np
import torch

from histogenesis.core.device import computed_on
from histogenesis.core.errors import BadInput
from histogenesis.core.geometry import same_mpp
from histogenesis.core.interrupt import Stopped, StopRequest, end_stopped, hold
from histogenesis.models.model import load_model
from histogenesis.patches.store import Cut, write_store
from histogenesis.recipe import Samples, canonical
from histogenesis.recipe.identity import bearing, section_text
from histogenesis.report.training_pictures import save_sheet
from histogenesis.sampling.patches import draw_patches


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", required=True, help="of the samples, as in the recipe")
    parser.add_argument("--model", type=Path, required=True, help="the model's folder")
    parser.add_argument("--smaller", type=Path, nargs="*", default=[], help="the folders of the cascade's models")
    parser.add_argument(
        "--options", type=section_text, required=True, help="the recipe's section of these samples, as JSON"
    )
    parser.add_argument("--state", type=Path, required=True, help="folder of finished batches; survives failures")
    parser.add_argument("--key", default="", help="digest of the code: another digest is another drawing")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads; part of the recipe, as it rounds")
    parser.add_argument("--out", type=Path, required=True, help="samples.h5; samples.png is written beside it")
    return parser.parse_args()


def digest_of(path: Path) -> str:
    with open(path, "rb") as file:
        return file_digest(file, "sha256").hexdigest()


def main() -> None:
    args = arguments()
    hold(args.state)
    torch.set_num_threads(args.threads)
    torch.backends.cudnn.deterministic = True
    device = "cuda" if torch.cuda.is_available() else "cpu"
    section = Samples.model_validate_json(args.options)
    model = load_model(args.model, device, section.precision)
    models = [*(load_model(folder, device, section.precision) for folder in args.smaller), model]
    card = json.loads((args.model / "model.json").read_text())
    told = (section.classes or model.classes) if model.classes else [None]
    only = card["classes"][0] if len(card.get("classes", [])) == 1 else ""  # the class of what a model draws untold
    size_px, mpp = section.size_px or card["patch_px"], section.mpp or min(card["mpps"], default=float("nan"))
    if mpp == mpp and card["mpps"] and not same_mpp(mpp, card["mpps"]).any():
        raise BadInput(f"{args.model}: it has learned mpps {card['mpps']} and never saw {mpp:g}")

    weights, *smaller = (digest_of(folder / "model.safetensors") for folder in (args.model, *args.smaller))
    told_of = [canonical(bearing(section)), weights, args.key, *smaller]
    digest = blake2b(json.dumps(told_of).encode(), digest_size=16).hexdigest()
    stop = StopRequest()
    try:
        state = args.state / digest[:12]
        pictures, labels = draw_patches(models, section, told, size_px, mpp, state, device, lambda: bool(stop))
    except Stopped as stopped:
        end_stopped(stopped)
    n = len(pictures)
    cut = Cut(
        args.name, size_px, coords=np.full((n, 2), -1, np.int64), mpp=np.full(n, mpp), tissue=np.ones(n, np.float32)
    )
    cut.texts["label"] = [label or only for label in labels]
    cut.facts = {
        "synthetic": True,
        "model_sha256": weights,
        "seed": section.seed,
        "drawing": digest,
        **computed_on(device),
    }
    write_store(args.out, cut, pictures)
    save_sheet(args.out.with_suffix(".png"), pictures, cut.texts["label"])
    shutil.rmtree(args.state)


if __name__ == "__main__":
    try:
        main()
    except BadInput as error:
        sys.exit(f"error: {error}")
