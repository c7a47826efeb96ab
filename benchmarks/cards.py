"""What the cards of the models that ship say they were measured at: the judge's scores, membership, and copies.

    snakemake -c2 --configfile config/pretrained/cards.yaml -- results/cards/data.json
    python benchmarks/cards.py results/cards [--models glands weak-glands] [--parts membership copies] [--images 80]

config/pretrained/cards.yaml says which patches a model learnt from, config/gut.yaml which of those that ship it is and how it
draws: led away from its weaker model; a weaker model alone. Written for each, as pretrained/MODEL/measured.json, part by part;
what was drawn, the closest pairs and all that the judge wrote lie in RUN/cards/MODEL.

membership: the AUC of evaluation/membership.py, with an interval by patient where there are enough, and one by places of the
slides. planted: what that would have shown. The model goes on to learn an edge of the held-out slide, as often as
it learnt so much of a training slide; the AUC between that edge and the rest of the slide is asked for before and after.

copies, scores: of patches of the size that it learnt from, drawn at each of its mpps; where it is shown the level above, below
real patches of the held-out patient, other than those that it is compared with. All training patches are searched for copies,
and copies are planted, as in every report.
"""

import argparse
import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from histogenesis.core.geometry import same_mpp
from histogenesis.core.hdf5 import reading
from histogenesis.core.noise import normal
from histogenesis.evaluation.collect import real_set
from histogenesis.evaluation.evaluate import evaluate
from histogenesis.evaluation.evaluate_copies import PIECES, audit_pixels, render_pairs
from histogenesis.evaluation.files import write_json
from histogenesis.evaluation.job import load_encoders
from histogenesis.evaluation.membership import SIGMAS, both_losses, losses_of
from histogenesis.evaluation.sets import Sets
from histogenesis.evaluation.training_patches import InMemory, OnDisk
from histogenesis.evaluation.treatment import treated
from histogenesis.evaluation.units import units
from histogenesis.metrics.distances.blocks import KIND, median_blocks
from histogenesis.metrics.distances.intervals import by_name
from histogenesis.metrics.encoders.features import ImageSet
from histogenesis.metrics.memorisation.membership import auc, membership
from histogenesis.models.batches import Batches
from histogenesis.models.card import read_card
from histogenesis.models.conditions import add_noise, enlarge
from histogenesis.models.model import load_model
from histogenesis.models.shipped import folder_of
from histogenesis.models.training import Trainer
from histogenesis.patches.dataset import PatchCollection
from histogenesis.recipe import Evaluation, Level, Recipe, load_recipe
from histogenesis.sampling.estimate import estimator
from histogenesis.sampling.guidance import guide
from histogenesis.sampling.solvers import solve, solver_evaluations, takes

ROOT = Path(__file__).resolve().parent.parent
PLACES = 8  # blocks of each slide, for the interval over places
EDGE = 1 / 50  # share of the held-out slide's patches that are planted
BATCH = 32
PARTS = ("membership", "copies", "planted", "scores")
ENCODER = "efficientnet-lite0"
JUDGED = {  # what of the judge is left out: it costs most of its time, and no card says it
    "encoders": ["stain-statistics", ENCODER],
    "copy_views": False,
    "morphology_images": 0,
    "sensitivity_images": 0,
    "c2st_steps": 1,
    "n_resamples": 10,
}


# ---------------------------------------------------------------------- membership


def by_place(patches: ImageSet):
    """The blocks of each slide as the units of an interval."""
    label = np.empty(len(patches), object)
    for slide in set(patches.slide.tolist()):
        rows = np.flatnonzero(patches.slide == slide)
        label[rows] = [f"{slide} {block}" for block in median_blocks(patches.xy[rows], PLACES)]
    return by_name(label, KIND)


def asked(folder: Path, patches: Path, splits: Path, images: int, seed: int) -> dict:
    """As a report has it, with the interval over places beside."""
    (train, of_train), (other, of_other) = both_losses(folder, patches, splits, "validation", images, seed)
    by_patient, over_places = (
        membership(of_train, of_other, list(SIGMAS), *sides, seed=seed)
        for sides in (
            [units(s, np.arange(len(s)), loss) for s, loss in ((train, of_train), (other, of_other))],
            [by_place(s) for s in (train, other)],
        )
    )
    kept = {key: by_patient[key] for key in ("auc", "low", "high", "interval", "n_train", "n_held_out", "by_sigma")}
    return kept | {"places": {key: over_places[key] for key in ("low", "high", "interval")}}


def planted(folder: Path, patches: Path, splits: Path, many: int, seed: int) -> dict:
    """The AUC between an edge of the held-out slide and the rest of it, before and after the edge was learnt as often as so
    much of a training slide was."""
    card, side = read_card(folder), PatchCollection(patches, splits, "validation")
    top, edge = side.coords[:, 1], np.zeros(len(side), bool)
    for mpp in set(side.mpp.tolist()):
        edge |= (side.mpp == mpp) & (top <= np.quantile(top[side.mpp == mpp], EDGE))
    with reading(patches / f"{side.names[0]}.h5") as file:
        side_px = side.patch_px * side.mpp / float(file.attrs["slide_mpp"])
    beside = top > (top + side_px)[edge].max()  # patches overlap: what lies beside the edge must show nothing of it
    images = round(card["images"] * EDGE / len(PatchCollection(patches, splits, "train").names))
    members, others = (_alike(side, np.flatnonzero(rows), many) for rows in (edge, beside))

    def told(model) -> float:
        px, factor = card["patch_px"], card["section"].get("lowres_factor")
        scores = [-losses_of(model, px, side, rows, seed, "cpu", factor) for rows in (members, others)]
        spread = np.concatenate(scores).std(axis=0)
        return auc(*((score / spread).mean(axis=1) for score in scores))

    learnt = learnt_on(folder, card, Part(side, np.flatnonzero(edge)), images, seed)
    found = {"before": told(load_model(folder)), "after": told(learnt), "images": images}
    return found | {"n_planted": len(members), "n_beside": len(others)}


class Part:
    """Some patches of a collection, as training takes them."""

    def __init__(self, whole: PatchCollection, rows: np.ndarray):
        self.whole, self.rows, self.patch_px = whole, rows, whole.patch_px
        self.mpp, self.label = whole.mpp[rows], whole.label[rows]

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, indices) -> np.ndarray:
        return self.whole.read(self.rows[np.asarray(indices)])


def learnt_on(folder: Path, card: dict, patches: Part, images: int, seed: int):
    """The model after it has learnt these patches too, at the rate that its training ended with."""
    section, model = card["section"], load_model(folder)
    training = section["training"]
    rate = training["lr"] / max(1.0, card["steps"] / training["decay_after_steps"]) ** 0.5
    section = section | {"training": training | {"lr": rate, "warmup_steps": 10, "decay_after_steps": None}}
    batches = Batches(
        patches,
        model.normalisation,
        model.objective.sample_sigma,
        seed,
        training["augment"],
        model.conditions,
        section.get("lowres_factor"),
        training["crop_px"],
    )
    model.requires_grad_(True)
    trainer = Trainer(model, section, batches, Path(), "", "cpu")
    for step in range(max(1, round(images / training["batch"]))):
        trainer.train_step([batches.read(step, range(training["batch"]))])
    model.network.load_state_dict(trainer.ema, strict=False)
    model.precision = "fp32"
    return model.eval().requires_grad_(False)


def _alike(side: PatchCollection, rows: np.ndarray, images: int) -> np.ndarray:
    """Of these rows equally many at each mpp, so that what is planted and what is not are alike in that."""
    rng, mpps = np.random.default_rng(0), sorted(set(side.mpp.tolist()))
    found = [rows[side.mpp[rows] == mpp] for mpp in mpps]
    return np.concatenate([rng.choice(r, min(images // len(mpps), len(r)), replace=False) for r in found])


# ---------------------------------------------------------------------- scores and copies


@torch.inference_mode()
def drawn(level: Level, model, weaker, above: np.ndarray, mpp: float, seed: int) -> np.ndarray:
    """As many pictures as `above` holds, of twice its side, uint8 (n, 2q, 2q, 3); below it, where the model is shown the level
    above."""
    denoise = guide(model, None, level.guidance if weaker is not None else 0.0, weaker)
    start = level.start.sigma if level.start else None
    evaluations = solver_evaluations(**level.sampler.solver, training_sigmas=model.objective.sigmas, start=start)
    side, pictures = 2 * above.shape[1], []
    for first in range(0, len(above), BATCH):
        coarse = torch.from_numpy(above[first : first + BATCH]).permute(0, 3, 1, 2)
        keys, begin, cond = range(first, first + len(coarse)), torch.zeros(()), {}

        def noise(purpose: str, step: int, resample_index: int, keys=keys) -> torch.Tensor:
            each = [normal((3, side, side), "cards", purpose, f"{mpp:g}", seed, step, k) for k in keys]
            return torch.from_numpy(np.stack(each))

        if "lowres" in model.conditions:
            begin = enlarge(model.normalisation.encode(coarse), side)
            shown = torch.full((len(coarse),), level.lowres_noise)
            cond = {"cond_image_bchw": add_noise(begin, shown, noise("lowres", 0, 0)), "lowres_noise_b": shown}
        estimate = estimator(denoise, level.sampler, model.normalisation, mpp, **cond)
        x, _ = solve(begin + evaluations[0].sigma * noise("fresh", 0, 0), takes(evaluations), estimate, noise)
        pictures.append(model.to_uint8(x))
    return torch.cat(pictures).permute(0, 2, 3, 1).numpy()


def coarser(images: np.ndarray) -> np.ndarray:
    """uint8 (n, p, p, 3) at half the resolution, as a level above is stored."""
    n, p, _, c = images.shape
    return images.reshape(n, p // 2, 2, p // 2, 2, c).mean(axis=(2, 4)).round().astype(np.uint8)


def drawn_sets(name: str, recipe: Recipe, drawing: Recipe, run: Path, patches: Path, images: int, file: Path) -> Sets:
    """Training, held-out and generated patches, equally many at each mpp; file: where the generated ones stay."""
    splits, seed = run / "splits.tsv", recipe.seed
    levels = [one for one in drawing.synthetic.levels if name in (one.model, one.weaker)]
    each = images // len(recipe.patches[recipe.models[name].patches].mpps)
    train, real = (real_set(patches, splits, side, n, seed) for side, n in (("train", each), ("validation", 2 * each)))
    compared, below, pictures = [], [], []
    for mpp in sorted(set(real.mpp.tolist()), reverse=True):
        rows = np.random.default_rng(seed).permutation(np.flatnonzero(real.mpp == mpp))
        compared.append(rows[::2])
        below.append(rows[1::2])
        if file.is_file():
            continue
        level = next((one for one in levels if same_mpp(mpp, one.mpp)), levels[0])
        own, weaker = (name, level.weaker) if name == level.model else (name, None)
        model, other = (
            one and load_model(folder_of(drawing.models[one].pretrained), precision=level.precision)
            for one in (own, weaker)
        )
        pictures.append(drawn(level, model, other, coarser(real.images[rows[1::2]]), mpp, seed))
    if pictures:
        np.save(file, np.concatenate(pictures))
    held_out, shown = (real.take(np.concatenate(rows)) for rows in (compared, below))
    generated = replace(shown, name="generated", images=np.load(file))
    return treated(Sets(train, held_out, generated), drawing.evaluation, run / "slides", run)


def copies(sets: Sets, options: Evaluation, out: Path, training: OnDisk, seed: int) -> dict:
    """The audit of pieces, as in every report."""
    found = audit_pixels(sets, options, training, seed)
    render_pairs(out / "closest_pairs.png", sets, {PIECES: found}, training)
    kept = ("verdict", "sentence", "lone", "searched", "of", "power", "n_held_out", "n_generated")
    return {key: found[key] for key in kept}


def scores(sets: Sets, options: Evaluation, out: Path, _: OnDisk, seed: int) -> dict:
    """At each mpp, by EfficientNet-lite0: the kernel distance, and how often a classifier tells generated patches."""
    found: dict[str, dict] = {}
    for row in evaluate(sets, load_encoders(options), options, out, seed, InMemory(sets.train))["metrics"]:
        if row["encoder"] == ENCODER and row["name"] in ("kid", "c2st") and row["mpp"]:
            about = {key: row[key] for key in ("value", "low", "high", "floor", "patients", "n_generated")}
            found.setdefault(f"{row['mpp']:g}", {})[row["name"]] = about | {"phase": row["ceilings"].get("phase")}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder with splits.tsv, slides/ and patches/")
    parser.add_argument("--models", nargs="+", help="of config/gut.yaml; default: all")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--images", type=int, default=80, help="patches of each kind, over all mpps")
    parser.add_argument("--out", type=Path, default=ROOT / "pretrained")
    args = parser.parse_args()
    torch.set_num_threads(1)
    recipe, drawing = load_recipe(ROOT / "config/pretrained/cards.yaml"), load_recipe(ROOT / "config/gut.yaml")
    options, splits, seed = drawing.evaluation.model_copy(update=JUDGED), args.run / "splits.tsv", recipe.seed
    for part, name in itertools.product(args.parts, args.models or list(drawing.models)):
        folder, patches = folder_of(drawing.models[name].pretrained), args.run / "patches" / recipe.models[name].patches
        if part in ("membership", "planted"):
            found = {"membership": asked, "planted": planted}[part](folder, patches, splits, args.images, seed)
        else:
            out = args.run / "cards" / folder.name
            out.mkdir(parents=True, exist_ok=True)
            sets = drawn_sets(name, recipe, drawing, args.run, patches, args.images, out / f"drawn-{args.images}.npy")
            found = {"copies": copies, "scores": scores}[part](sets, options, out, OnDisk(patches, splits), seed)
        print(f"{folder.name}, {part}: {found}", flush=True)
        file = args.out / folder.name / "measured.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, (json.loads(file.read_text()) if file.is_file() else {}) | {part: found})


if __name__ == "__main__":
    main()
