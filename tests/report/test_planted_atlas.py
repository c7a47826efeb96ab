"""The same faults planted in slides of gut: one patient's tissue, whole or spoilt, is judged by that of three others.

The slides are the Pathology Atlas's (MIT / CC BY 4.0, OSF DOI 10.17605/OSF.IO/6W5K8), each of another patient.
"""

import numpy as np
import pytest
from planted import MPP, SIDE, judge_once, write_run

from histogenesis.slides.read import open_slide

pytestmark = [pytest.mark.slow, pytest.mark.long]
ENCODERS = ("stain-statistics", "efficientnet-lite0", "he-network")
SLIDES = {
    "train": ["duodenum_net_ice1_20x.tif", "duodenum_adenoma_20x.tif"],
    "held_out": ["stomach_metaplasia_20x.tif"],
    "generated": ["duodenum_giardiasis_bs9_20x.tif"],
}
N = 80  # patches of each slide


def tissue_of(path, n, side=SIDE, seed=0):
    """Patches (n, side, side, 3) uint8 at 1 mpp at random places, at least half of each stained."""
    rng, found = np.random.default_rng(seed), []
    with open_slide(path) as slide:
        reach = int(np.ceil(side * MPP / slide.mpp)) + 2
        while len(found) < n:
            x, y = (int(rng.integers(0, px - reach)) for px in (slide.width_px, slide.height_px))
            patch = slide.read(x, y, side, MPP)
            if (patch.min(axis=-1) < 215).mean() > 0.5:
                found.append(patch)
    return np.stack(found)


@pytest.fixture(scope="module")
def judged(test_data, tmp_path_factory):
    """fault -> (bottom line, statements, run folder), each measured once."""
    folder = test_data / "slides"
    tissue = {name: [tissue_of(folder / slide, N) for slide in slides] for name, slides in SLIDES.items()}
    picture = tissue_of(folder / SLIDES["generated"][0], 1, 384)[0]

    return judge_once(tmp_path_factory, lambda run, fault: write_run(run, fault, tissue, picture, ENCODERS))


@pytest.mark.parametrize(
    "fault,words",
    [
        ("none", "Nothing found that tells it from tissue"),
        ("copies", "Copies its training patches"),
        ("one colour", "Failed: synthetic_001 at 1 mpp is of one colour"),
        ("bicubic", "Can be told from tissue"),
        *((fault, "Does not look like tissue") for fault in ("phase noise", "speckle", "blur", "mosaic")),
    ],
)
def test_a_slide_of_another_patient_is_called_what_it_is(judged, fault, words):
    line, _, _ = judged(fault)
    assert line.text.startswith(words)


def test_a_real_slide_is_accused_of_nothing(judged):
    """The patient held out is stained otherwise, so that the slide lies nearer to the training patches than he does."""
    _, found, _ = judged("none")
    assert not [one.text for one in found if one.status in ("bad", "look")]
