"""Planted faults in place of generated tissue, and a run that is measured of them by the evaluation's own functions."""

import h5py
import made_up
import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from histogenesis.evaluation.condition import measure_condition
from histogenesis.evaluation.evaluate import evaluate, write_json
from histogenesis.evaluation.evidence import write_evidence
from histogenesis.evaluation.sets import Sets
from histogenesis.metrics.coherence.coherence import LevelTiles, measure_coherence
from histogenesis.metrics.encoders.features import ImageSet
from histogenesis.metrics.encoders.registry import load
from histogenesis.recipe import Evaluation
from histogenesis.report.gather import gather
from histogenesis.report.verdict import bottom_line, statements

SIDE, MPP = 64, 1.0


def phase_noise(pictures, rng):
    """Colours and spectrum kept, structure gone."""
    phase = np.angle(np.fft.fft2(rng.standard_normal(pictures.shape[1:3])))[..., None]
    spectrum = np.fft.fft2(pictures.astype(float), axes=(1, 2)) * np.exp(1j * phase)
    spectrum[:, 0, 0] = np.abs(spectrum[:, 0, 0])
    return np.fft.ifft2(spectrum, axes=(1, 2)).real.clip(0, 255).astype(np.uint8)


def speckle(pictures, rng):
    """Grains of 2 px: each picture's mean colour and covariance, and nothing else of it."""
    out = np.empty(pictures.shape)
    for picture, made in zip(pictures, out):
        colours = picture.reshape(-1, 3)
        grain = gaussian_filter(rng.standard_normal(picture.shape), (1, 1, 0))
        values, vectors = np.linalg.eigh(np.cov(colours.T))
        made[:] = colours.mean(axis=0) + grain / grain.std() @ (vectors * np.sqrt(values.clip(0))).T
    return out.clip(0, 255).astype(np.uint8)


def mosaic(pictures, rng):
    """Blocks of 8 px in a random order."""
    n, height, width, _ = pictures.shape
    blocks = pictures.reshape(n, height // 8, 8, width // 8, 8, 3).swapaxes(2, 3).reshape(n, -1, 8, 8, 3)
    blocks = np.stack([one[rng.permutation(len(one))] for one in blocks])
    return blocks.reshape(n, height // 8, width // 8, 8, 8, 3).swapaxes(2, 3).reshape(pictures.shape)


def bicubic(pictures, rng):
    """4 px averaged and enlarged: right on the large scale, empty on the small."""
    n, height, width, _ = pictures.shape
    small = pictures.reshape(n, height // 4, 4, width // 4, 4, 3).mean(axis=(2, 4)).round().astype(np.uint8)
    return np.stack(
        [np.asarray(Image.fromarray(one).resize((width, height), Image.Resampling.BICUBIC)) for one in small]
    )


FAULTS = {  # of pictures (n, h, w, 3) uint8
    "none": lambda pictures, rng: pictures,
    "noise of all colours": lambda pictures, rng: rng.integers(0, 256, pictures.shape).astype(np.uint8),
    "speckle": speckle,
    "phase noise": phase_noise,
    "bicubic": bicubic,
    "blur": lambda pictures, rng: gaussian_filter(pictures, (0, 6, 6, 0)),
    "mosaic": mosaic,
    "copies": lambda pictures, rng: pictures,  # and the patches are those that were trained on
    "one colour": lambda pictures, rng: np.full_like(pictures, pictures.mean(axis=(0, 1, 2)).astype(np.uint8)),
    "another colour": lambda pictures, rng: pictures[..., [2, 0, 1]],  # green
    "empty": lambda pictures, rng: np.full_like(pictures, 243),
}


def image_set(name, parts, slide=None) -> ImageSet:
    """Each part is of a patient of its own."""
    patients = np.concatenate([np.repeat(f"{name}{k}", len(part)) for k, part in enumerate(parts)])
    slides = patients if slide is None else np.repeat(slide, len(patients))
    return ImageSet(name, np.concatenate(parts), np.full(len(patients), MPP), slides, patients)


def write_slide(run, picture, planned):
    """One synthetic slide of one level, and what is measured of it."""
    folder = run / "synthetic/synthetic_001"
    folder.mkdir(parents=True)
    with h5py.File(folder / "level0.h5", "w") as file:
        file["image"] = picture
        file.attrs.update(mpp=MPP, level=0, slide=folder.name, synthetic=True, seed=1)
    Image.fromarray(np.full(picture.shape[:2], 255 * planned, np.uint8)).save(folder / "plan.png")
    tiles = [LevelTiles(tile_px=SIDE, joining="independent", constraint="none")]
    found = measure_coherence(folder, folder / "plan.png", 100, tiles)
    (run / "evaluation/synthetic_001").mkdir(parents=True)
    write_json(run / "evaluation/synthetic_001/coherence.json", found)


def write_run(run, fault, tissue, picture, names):
    """A run whose synthetic slide has the fault, measured as a run is by the encoders of these names.

    tissue: train, held_out, generated -> patches of each patient; picture: of real tissue, made the slide.
    """
    rng, planned = np.random.default_rng(1), fault != "empty"
    parts = [FAULTS[fault](part, rng) for part in tissue["generated"]]
    if fault == "copies":
        learnt, many = np.concatenate(tissue["train"]), sum(map(len, parts))
        parts = [learnt[np.linspace(0, len(learnt) - 1, many).round().astype(int)]]
    write_slide(run, FAULTS[fault](picture[None], rng)[0], planned)
    for k in range(3):
        made_up.write_slide(run, f"real_{k}", rng)
    made_up.write_splits(run, [(f"real_{k}", f"p{k}", s, 0, 1) for k, s in enumerate(("train", "train", "validation"))])
    generated = image_set("generated", parts, "synthetic_001")
    generated = generated if planned else generated.take(np.zeros(0, int))
    sets = Sets(image_set("train", tissue["train"]), image_set("held_out", tissue["held_out"]), generated)
    out = run / "evaluation"
    encoders = [load(name) for name in names]
    write_json(out / "condition.json", measure_condition(sets, run / "synthetic", run / "tissue", SIDE, 1))
    evaluate(sets, encoders, Evaluation(images=100, n_resamples=20, n_folds=2, copy_views=False), out, 1)
    write_json(out / "evidence.json", write_evidence(out, sets, [encoder.name for encoder in encoders]))


def judge_once(tmp_path_factory, write):
    """fault -> (bottom line, statements, run folder), each measured once. write(run, fault) makes the run."""
    done = {}

    def judge(fault):
        if fault not in done:
            run = tmp_path_factory.mktemp("planted") / fault.replace(" ", "-")
            write(run, fault)
            found = statements(gather(run))
            done[fault] = bottom_line(found), found, run
        return done[fault]

    return judge
