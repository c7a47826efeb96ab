"""What the eye sees at once stands in the first line: planted faults, measured by the evaluation itself.

Real tissue is that of the CC0 slide, cut into stripes: some are trained on, some held out, some are "generated" as they
are or with the fault.
"""

import json

import h5py
import made_up
import numpy as np
import pytest
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
from histogenesis.report.build import build_report
from histogenesis.report.gather import gather
from histogenesis.report.verdict import bottom_line, statements
from histogenesis.slides.read import open_slide

pytestmark = [pytest.mark.slow, pytest.mark.long]
SIDE, MPP = 64, 1.0
FAST, SEEING = "stain-statistics", "efficientnet-lite0"
SEEN = ("none", "speckle", "phase noise", "blur", "mosaic")  # what only an encoder of structure tells apart


@pytest.fixture(scope="module")
def stripes(cmu_slide) -> dict[str, list[np.ndarray]]:
    """Patches (n, 64, 64, 3) uint8 of tissue at 1 mpp by stripes of the slide, every third for one use."""
    with open_slide(cmu_slide) as slide:
        at = [(x, y) for x in range(0, slide.width_px - 128, 128) for y in range(0, slide.height_px - 128, 128)]
        patches = {place: slide.read(*place, SIDE, MPP) for place in at}
    kept = {place: patch for place, patch in patches.items() if (patch.min(axis=-1) < 215).mean() > 0.5}
    found = {"train": [], "held_out": [], "generated": []}
    for k, x in enumerate(sorted({x for x, _ in kept})):
        found[list(found)[k % 3]].append(np.stack([patch for (other, _), patch in kept.items() if other == x]))
    return found


def phase_noise(pictures, rng):
    """Colours and spectrum kept, structure gone."""
    phase = np.angle(np.fft.fft2(rng.standard_normal(pictures.shape[1:3])))[..., None]
    spectrum = np.fft.fft2(pictures.astype(float), axes=(1, 2)) * np.exp(1j * phase)
    spectrum[:, 0, 0] = np.abs(spectrum[:, 0, 0])
    return np.fft.ifft2(spectrum, axes=(1, 2)).real.clip(0, 255).astype(np.uint8)


def mosaic(pictures, rng):
    """Blocks of 8 px in a random order."""
    n, height, width, _ = pictures.shape
    blocks = pictures.reshape(n, height // 8, 8, width // 8, 8, 3).swapaxes(2, 3).reshape(n, -1, 8, 8, 3)
    blocks = np.stack([one[rng.permutation(len(one))] for one in blocks])
    return blocks.reshape(n, height // 8, width // 8, 8, 8, 3).swapaxes(2, 3).reshape(pictures.shape)


FAULTS = {  # of pictures (n, h, w, 3) uint8
    "none": lambda pictures, rng: pictures,
    "speckle": lambda pictures, rng: rng.integers(0, 256, pictures.shape).astype(np.uint8),
    "phase noise": phase_noise,
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


def write_run(run, fault, stripes, picture):
    """A run whose synthetic slide has the fault, measured as a run is."""
    rng, planned = np.random.default_rng(1), fault != "empty"
    parts = [FAULTS[fault](part, rng) for part in stripes["generated"]]
    if fault == "copies":
        parts = [np.concatenate(stripes["train"])[: sum(map(len, parts))]]
    write_slide(run, FAULTS[fault](picture[None], rng)[0], planned)
    for k in range(3):
        made_up.write_slide(run, f"real_{k}", rng)
    made_up.write_splits(run, [(f"real_{k}", f"p{k}", s, 0, 1) for k, s in enumerate(("train", "train", "validation"))])
    generated = image_set("generated", parts, "synthetic_001")
    generated = generated if planned else generated.take(np.zeros(0, int))
    sets = Sets(image_set("train", stripes["train"]), image_set("held_out", stripes["held_out"]), generated)
    names, out = (FAST, SEEING) if fault in SEEN else (FAST,), run / "evaluation"
    encoders = [load(name) for name in names]
    write_json(out / "condition.json", measure_condition(sets, run / "synthetic", run / "tissue", SIDE, 1))
    evaluate(sets, encoders, Evaluation(images=100, n_resamples=20, n_folds=2, copy_views=False), out, 1)
    write_json(out / "evidence.json", write_evidence(out, sets, [encoder.name for encoder in encoders]))


@pytest.fixture(scope="module")
def judged(stripes, cmu_slide, tmp_path_factory):
    """fault -> (bottom line, statements, run folder), each measured once."""
    done = {}
    with open_slide(cmu_slide) as slide:
        picture = slide.read(400, 400, 384, MPP)

    def judge(fault):
        if fault not in done:
            run = tmp_path_factory.mktemp("planted") / fault.replace(" ", "-")
            write_run(run, fault, stripes, picture)
            found = statements(gather(run))
            done[fault] = bottom_line(found), found, run
        return done[fault]

    return judge


@pytest.mark.parametrize(
    "fault,words",
    [
        ("empty", "Failed: synthetic_001 is empty"),
        ("one colour", "Failed: synthetic_001 at 1 mpp is of one colour"),
        ("another colour", "Failed: colour off on synthetic_001 at 1 mpp"),
        ("copies", "Copies its training patches"),
    ],
)
def test_a_failed_slide_and_a_copier_lead_in_red(judged, fault, words):
    line, _, _ = judged(fault)
    assert line.status == "bad"
    assert line.text.startswith(words)


@pytest.mark.parametrize(
    "fault,words",
    [
        ("speckle", "Does not look like tissue"),
        ("phase noise", "Does not look like tissue"),
        ("blur", "Does not look like tissue"),
        ("mosaic", "Does not look like tissue"),
    ],
)
def test_what_is_no_tissue_is_never_called_so(judged, fault, words):
    line, _, _ = judged(fault)
    assert line.status == "bad"
    assert line.text.startswith(words)


def test_real_tissue_judged_as_if_it_were_generated_is_not_accused(judged):
    line, found, _ = judged("none")
    assert line.text.startswith(("Nothing found that tells it from tissue", "As close to real tissue"))
    assert not [one.text for one in found if one.status == "bad"]


def test_the_report_of_each_leads_with_its_sentence(judged):
    for fault in ("none", "empty", "copies"):
        line, _, run = judged(fault)
        assert build_report(run, run / "report.html") == line.text
        assert f'<p class="bottom-line {line.status}">' in (run / "report.html").read_text()


def test_the_furthest_patches_are_the_planted_ones(stripes, tmp_path):
    """Five of the generated patches are speckle: the evidence names just these, the furthest first."""
    parts = [part.copy() for part in stripes["generated"]]
    everything = np.concatenate(parts)
    planted = np.random.default_rng(1).choice(len(everything), 5, replace=False)
    everything[planted] = np.random.default_rng(2).integers(0, 256, (5, SIDE, SIDE, 3))
    names = np.repeat("s", len(everything))
    generated = ImageSet("generated", everything, np.full(len(names), MPP), names, names)
    sets = Sets(image_set("train", stripes["train"]), image_set("held_out", stripes["held_out"]), generated)
    evaluate(sets, [load("stain-statistics")], Evaluation(images=100, n_resamples=10, n_folds=2), tmp_path, 1)
    found = write_evidence(tmp_path, sets, ["stain-statistics", "unknown"])
    (one,) = found["encoders"]["stain-statistics"].values()
    assert {pair["generated"] for pair in one["furthest"][:5]} == set(planted.tolist())
    assert Image.open(tmp_path / one["picture"]).width > 8 * SIDE
    assert list(found["encoders"]) == ["stain-statistics"]
    json.dumps(found)
