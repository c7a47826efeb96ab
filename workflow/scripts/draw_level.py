"""Draw one level of a synthetic slide: its models, and the level above, in; a lossless canvas out.

Run again after it was killed or stopped, it goes on within the level and gives the same pixels. With --job it is one of several
that draw the tiles of a level from one queue, into the state folder; a run without it then finishes the level.
"""

import argparse
import json
import shutil
import sys
from hashlib import blake2b, file_digest
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from histogenesis.canvas.canvas import Level
from histogenesis.canvas.codec import codec_of
from histogenesis.canvas.engine import Bundle, Drawing
from histogenesis.canvas.share import Share
from histogenesis.core.device import check_precision, computed_on
from histogenesis.core.errors import BadInput
from histogenesis.core.interrupt import Stopped, StopRequest, end_stopped, hold
from histogenesis.models.model import load_model
from histogenesis.models.training import join_processes
from histogenesis.recipe import Level as LevelSection
from histogenesis.recipe import canonical
from histogenesis.recipe.identity import bearing, section_text
from histogenesis.recipe.taken import check_learnt
from histogenesis.sampling.guidance import guided


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slide", required=True, help="the synthetic slide's name: its noise is keyed by it")
    parser.add_argument("--k", type=int, required=True, help="which level; 0 is the coarsest")
    parser.add_argument("--options", type=section_text, required=True, help="the recipe's level section, as JSON")
    parser.add_argument("--size-px", type=int, nargs=2, required=True, metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--models", type=Path, required=True, help="folder of the run's models")
    parser.add_argument("--above", type=Path, help="the finished level above (levels 1, 2, ...)")
    parser.add_argument(
        "--plan", type=Path, help="plan.json of the tissue plan, beside its plan.png (levels 1, 2, ...)"
    )
    parser.add_argument(
        "--state", type=Path, required=True, help="folder of the drawing in progress; survives failures"
    )
    parser.add_argument("--key", default="", help="digest of the code: another digest is another drawing")
    parser.add_argument(
        "--ladder",
        default="{}",
        help="JSON: model -> [level, mpp], ...: all that the recipe draws, checked before anything is",
    )
    parser.add_argument("--threads", type=int, default=2, help="CPU threads; part of the recipe, as it rounds")
    parser.add_argument("--memory-mb", type=int, help="what the job may use; default: what is free")
    parser.add_argument("--beside-mb", type=int, default=4000, help="of that, for PyTorch and the network")
    parser.add_argument("--save-every", type=float, default=30, metavar="SECONDS")
    parser.add_argument("--job", type=int, help="one of several jobs that draw the tiles together: 0, 1, ...")
    parser.add_argument("--out", type=Path, required=True, help="level{k}.h5; with --job, an empty file that says done")
    return parser.parse_args()


def digest_of(path: Path | None) -> str:
    if path is None:
        return ""
    with open(path, "rb") as file:
        return file_digest(file, "sha256").hexdigest()


def main() -> None:
    args = arguments()
    hold(args.state if args.job is None else args.state / f"job{args.job}")
    torch.set_num_threads(args.threads)
    torch.backends.cudnn.deterministic = True
    device = join_processes()
    share = Share.of_this_process()
    check_learnt(args.models, json.loads(args.ladder))
    section = LevelSection.model_validate_json(args.options)
    above = Level(args.above) if args.above else None
    plan, background = None, (255, 255, 255)
    if args.plan:
        plan = np.asarray(Image.open(args.plan.with_suffix(".png"))) > 127
        background = tuple(json.loads(args.plan.read_text())["background"])

    weights = [digest_of(args.models / name / "model.safetensors") for name in section.models]
    parts = [
        canonical(bearing(section)),
        *args.size_px,
        args.seed,
        args.slide,
        args.k,
        *weights,
        digest_of(args.above),
        args.key,
    ]
    parts += [digest_of(args.plan), digest_of(args.plan and args.plan.with_suffix(".png"))]
    digest = blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()
    if args.job is None and args.out.exists() and Level(args.out).facts.get("drawing") == digest:
        print(f"{args.out} was finished meanwhile by the process that held its state")
        return

    common = {
        "section": section,
        "size_px": tuple(args.size_px),
        "k": args.k,
        "seed": args.seed,
        "slide": args.slide,
        "above": above,
        "plan": plan,
        "background": background,
        "device": device,
    }
    check_precision(device, section.precision)
    models = [load_model(args.models / name, device, section.precision) for name in section.models]
    bundles = [
        Bundle(
            guided(model, section.label if model.classes else None, section.guidance),
            model.normalisation,
            model.conditions,
            model.objective.sigmas,
            codec_of(model),
        )
        for model in models
    ]
    state = args.state / digest[:12]
    others = [path.name for path in args.state.glob("*") if path.name != state.name]
    if others:
        print(
            f"{args.state}: {', '.join(sorted(others))} is of another drawing or another version; drawn anew",
            flush=True,
        )
    drawing = Drawing(bundles=bundles, **common)
    memory = None if args.memory_mb is None else (args.memory_mb - args.beside_mb) << 20
    try:
        easel = drawing.run(
            state / "tiles" if section.tile_by_tile else state,
            digest,
            StopRequest(),
            args.save_every,
            memory=memory,
            share=share,
        )
    except Stopped as stopped:
        end_stopped(stopped)
    if args.job is not None or share.rank:
        if not share.rank:
            args.out.touch()
        return
    drawing.finish(easel, args.out, model_sha256=",".join(weights), drawing=digest, **computed_on(device))
    shutil.rmtree(args.state)


if __name__ == "__main__":
    try:
        main()
    except BadInput as error:
        sys.exit(f"error: {error}")
