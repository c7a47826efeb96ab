"""Draw patches with a trained model, so many of each class."""

from __future__ import annotations

import json
import shutil
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from histogenesis.core.device import compute_with, computed_on
from histogenesis.core.errors import BadInput
from histogenesis.core.geometry import same_mpp
from histogenesis.core.interrupt import StopRequest, hold
from histogenesis.models.card import read_card
from histogenesis.models.model import load_model
from histogenesis.patches.store import Cut, write_store
from histogenesis.recipe import Samples, canonical
from histogenesis.recipe.identity import bearing
from histogenesis.report.training_pictures import save_sheet
from histogenesis.sampling.patches import sample_patches
from histogenesis.steps.inputs import digest_of


def draw_samples(
    *,
    name: str,
    model: Path,
    options: Samples,
    state: Path,
    out: Path,
    models: Path | None = None,
    key: str = "",
    threads: int = 1,
) -> None:
    """Draw patches with a trained model: so many of each class, as a patch file, and a sheet that shows all of them.

    Called again after it was killed or stopped, it goes on after the last finished batch and gives the same pictures. Raises
    BadInput for an mpp that the model never saw; Stopped, with the state saved, when asked to end.

    name: of the samples, as in the recipe
    model: the model's folder
    options: the recipe's section of these samples
    state: folder of finished batches; survives failures
    out: samples.h5; samples.png is written beside it
    models: folder of models, where those of the cascade lie by their names
    key: digest of the code: another digest is another drawing
    threads: CPU threads; part of the recipe, as it rounds
    """
    hold(state)
    device = compute_with(threads)
    folders = [*((models or model.parent) / one.model for one in options.cascade), model]
    denoisers: list[Any] = [load_model(folder, device, options.precision) for folder in folders]
    denoiser = denoisers[-1]
    card = read_card(model)
    section: Any = options
    classes: list[str | None] = list(options.classes or denoiser.classes) if denoiser.classes else [None]
    size_px, mpp = options.size_px or card["patch_px"], options.mpp or min(card["mpps"], default=float("nan"))
    if mpp == mpp and card["mpps"] and not same_mpp(mpp, card["mpps"]).any():
        raise BadInput(f"{model}: it has learned mpps {card['mpps']} and never saw {mpp:g}")

    *cascade, weights = (digest_of(folder / "model.safetensors") for folder in folders)
    parts = json.dumps([canonical(bearing(options)), weights, key, *cascade])
    digest = blake2b(parts.encode(), digest_size=16).hexdigest()
    stop = StopRequest()
    finished = state / digest[:12]
    pictures, labels = sample_patches(denoisers, section, classes, size_px, mpp, finished, device, lambda: bool(stop))
    n = len(pictures)
    cut = Cut(name, size_px, coords=np.full((n, 2), -1, np.int64), mpp=np.full(n, mpp), tissue=np.ones(n, np.float32))
    only = card["classes"][0] if len(card.get("classes", [])) == 1 else ""  # the class of what a model draws untold
    cut.texts["label"] = [label or only for label in labels]
    cut.facts = {
        "synthetic": True,
        "model_sha256": weights,
        "seed": options.seed,
        "drawing": digest,
        **computed_on(device),
    }
    write_store(out, cut, pictures)
    save_sheet(out.with_suffix(".png"), pictures, cut.texts["label"])
    shutil.rmtree(state)
