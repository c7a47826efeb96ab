"""Nuclei, stains, tissue and fragments against what was planted: the cells of a made-up slide, given vectors, drawn shapes."""

import json

import h5py
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from scipy.stats import wasserstein_distance

from histogenesis.evaluation.evaluate_fragments import fragment_metrics
from histogenesis.evaluation.evaluate_morphology import morphology_metrics, w1
from histogenesis.evaluation.sets import Sets
from histogenesis.metrics.encoders.features import ImageSet
from histogenesis.metrics.encoders.he_network import HeNetwork
from histogenesis.metrics.morphology.fragments import fragments
from histogenesis.metrics.morphology.nuclei import Nuclei, find_nuclei, nearest_distances, nuclear_threshold, ripley
from histogenesis.metrics.morphology.stains import angle_between, stain_vectors
from histogenesis.metrics.morphology.tissue import measure_tissue
from histogenesis.metrics.sensitivity import distorted
from histogenesis.phantom import cells, render
from histogenesis.recipe import Evaluation, Phantom
from histogenesis.slides.read import open_slide

MPP = 0.5


def planted(centres, a_um, b_um, side_px=256, mpp=MPP):
    """Ellipses of haematoxylin, stamped by the phantom's own painter, on eosin with a little noise."""
    n = len(centres)
    y, x = np.asarray(centres, float).T
    rng = np.random.default_rng(0)
    some = cells.Cells(y, x, np.full(n, a_um), np.full(n, b_um), rng.uniform(0, np.pi, n), np.full(n, 0.9))
    _, stain = cells.stamp((side_px, side_px), (mpp / 2, mpp / 2), mpp, some)
    density = 0.05 * render.HAEMATOXYLIN + 0.25 * render.EOSIN + stain[..., None] * render.HAEMATOXYLIN
    image = 240 * 10**-density + rng.normal(0, 2, (side_px, side_px, 1))
    return image.clip(0, 255).astype(np.uint8)


def grid(step_um, side_um=128, jitter=0.0):
    at = np.arange(step_um / 2, side_um, step_um)
    points = np.stack(np.meshgrid(at, at, indexing="ij"), -1).reshape(-1, 2)
    return points + np.random.default_rng(1).uniform(-jitter, jitter, points.shape)


def test_planted_nuclei_are_counted_and_measured():
    image = planted(grid(14, jitter=2), 4.2, 2.8)
    found = find_nuclei(image[None], MPP, nuclear_threshold(image[None], MPP))
    assert len(found.area) == pytest.approx(81, abs=2)
    assert np.median(found.area) == pytest.approx(np.pi * 4.2 * 2.8, rel=0.25)
    assert np.median(found.eccentricity) == pytest.approx(np.sqrt(1 - (2.8 / 4.2) ** 2), abs=0.08)
    assert found.per_mm2[0] == pytest.approx(len(found.area) / 0.128**2)
    round_ones = planted(grid(14, jitter=2), 3.2, 3.2)
    assert np.median(find_nuclei(round_ones[None], MPP, 0.05).eccentricity) < 0.5


@pytest.mark.parametrize("mpp", [0.25, 0.5])
def test_planted_nuclei_are_kept_by_their_size_in_um(mpp):
    """Of 58 um2 all are nuclei, 232 px at 0.5 mpp and 929 at 0.25; of 5 um2 none is, 20 and 80 px."""
    large, small = (planted(grid(20, side_um=120), r, r, round(120 / mpp), mpp) for r in (4.3, 1.26))
    threshold = nuclear_threshold(large[None], mpp)
    assert len(find_nuclei(large[None], mpp, threshold).area) == pytest.approx(36, abs=4)  # one or another is split
    assert len(find_nuclei(small[None], mpp, threshold).area) == 0


def test_nuclei_of_a_made_up_slide(monkeypatch):
    """The phantom's painter says which nuclei it stamps. Those that lie on one another or under a border cannot all be
    found."""
    painter = render.Painter(Phantom(name="p", width_mm=3, height_mm=3, mpp=MPP, seed=5))
    stamped = []

    def stamp(shape, origin, mpp, some):
        stamped.append((some, origin))
        return cells.stamp(shape, origin, mpp, some)

    monkeypatch.setattr(render, "stamp", stamp)
    windows, truth = [], []
    for y in range(1200, 4800, 400):
        stamped.clear()
        image = painter.rgb(y, 2800, 256, 256)
        if len(stamped) < 2 or image.min() > 200:
            continue
        some = stamped[1][0]
        y0, x0 = y * MPP, 2800 * MPP
        inside = (some.y > y0) & (some.y < y0 + 128) & (some.x > x0) & (some.x < x0 + 128)
        windows.append(image)
        truth.append(int(inside.sum()))
    windows = np.stack(windows)
    found = find_nuclei(windows, MPP, nuclear_threshold(windows, MPP))
    counts = np.bincount(found.patch, minlength=len(windows))
    assert sum(truth) > 200
    assert counts.sum() == pytest.approx(sum(truth), rel=0.35)
    assert np.corrcoef(counts, truth)[0, 1] > 0.8


def test_noise_without_structure_has_fewer_nuclei(cmu_slide):
    with open_slide(cmu_slide) as slide:
        real = np.stack([slide.read(x, y, 128, MPP) for x in (1000, 1150, 1300) for y in range(500, 2300, 300)])
    threshold = nuclear_threshold(real, MPP)
    counts = {name: len(find_nuclei(distorted(name, real), MPP, threshold).area) for name in ("phase", "speckle")}
    many = len(find_nuclei(real, MPP, threshold).area)
    assert many > 3 * counts["speckle"]
    assert many > 1.2 * counts["phase"]


def points(places):
    places = np.asarray(places, float)
    n = len(places)
    return Nuclei(1, 1.0, np.zeros(n, int), places[:, 0], places[:, 1], *np.zeros((3, n)))


def test_distances_and_ripley_by_closed_forms():
    lattice = points(grid(20, 400))
    np.testing.assert_allclose(nearest_distances(lattice), 20)
    assert np.isnan(nearest_distances(points([[3, 3]]))).all()
    rng = np.random.default_rng(3)
    anywhere = [ripley(points(rng.uniform(0, 100, (60, 2))), (100, 100))[0] for _ in range(200)]
    assert np.mean(anywhere) == pytest.approx(1, abs=0.05)  # complete spatial randomness: K = pi r^2, borders corrected
    assert ripley(lattice, (400, 400), 15.0)[0] == 0
    pairs = rng.uniform(10, 390, (40, 2)).repeat(4, 0) + rng.normal(0, 3, (160, 2))
    assert ripley(points(pairs), (400, 400))[0] > 3


def test_stain_vectors_that_were_planted():
    rng = np.random.default_rng(0)
    given = np.array([[0.55, 0.75, 0.37], [0.12, 0.90, 0.42]])
    given /= np.linalg.norm(given, axis=1, keepdims=True)
    amounts = rng.gamma(1.5, 0.3, (200, 200, 2)) * (rng.random((200, 200, 2)) < 0.6)
    image = (240 * 10 ** -(amounts @ given)).clip(1, 255).round().astype(np.uint8)
    found = stain_vectors(image)
    assert angle_between(found, given) < 3
    assert angle_between(given, given[::-1]) == pytest.approx(np.degrees(np.arccos(given[0] @ given[1])))
    assert stain_vectors(np.full((9, 9, 3), 255, np.uint8)).shape == (2, 3)  # nothing stained


def test_shares_of_tissue_and_the_sizes_of_lumina(cmu_slide):
    """Left of the tissue is glass: lumen to the network, and one part of it, as large as the patch."""
    with open_slide(cmu_slide) as slide:
        images = np.stack([slide.read(600, 700, 64, 2.0), slide.read(1300, 900, 64, 2.0)])
    found = measure_tissue(HeNetwork(), images, 2.0, np.array(["s", "s"]))
    np.testing.assert_allclose(found.shares.sum(axis=1), 1)
    assert found.shares[0, 0] > found.shares[1, 0]
    for areas in (*found.gland_area, *found.lumen_area):
        assert (areas <= 128.0**2 + 1e-6).all()


def test_fragments():
    mask = np.zeros((60, 80), bool)
    mask[5:25, 5:45] = True
    y, x = np.mgrid[:60, :80]
    mask |= (y - 42) ** 2 + (x - 60) ** 2 < 12**2
    mask[50:52, 2:4] = True  # dust
    found = fragments(mask, 16.0, least_mm2=0.01)
    assert len(found["area"]) == 2
    assert sorted(found["area"])[1] == pytest.approx(20 * 40 * 16e-3**2)
    assert found["solidity"].min() > 0.9
    ring = ndimage.binary_dilation(mask, iterations=3) & ~mask
    assert fragments(ring, 16.0)["solidity"].max() < 0.6


def test_w1_is_scipys():
    rng = np.random.default_rng(0)
    a, b = [rng.normal(0, 1, 5) for _ in range(6)], [rng.normal(1, 1, 3) for _ in range(8)]
    assert w1(a, b) == wasserstein_distance(np.concatenate(a), np.concatenate(b))
    assert w1(a, [np.zeros(0)] * 3) is None


def test_fragments_of_slides_are_compared_at_the_resolution_of_level_0(tmp_path):
    """A real slide with one piece of 1.6 x 1.6 mm, a synthetic one with four of a quarter of its area."""
    tissue = tmp_path / "tissue" / "b"
    tissue.mkdir(parents=True)
    mask = np.zeros((256, 256), np.uint8)
    mask[20:180, 20:180] = 255
    Image.fromarray(mask).save(tissue / "mask.png")
    qc = {"mpp": 10.0, "background": [240, 240, 240], "area_mm2": 2.56, "warnings": [], "error": None}
    (tissue / "qc.json").write_text(json.dumps(qc))
    folder = tmp_path / "synthetic" / "s"
    folder.mkdir(parents=True)
    with h5py.File(folder / "level0.h5", "w") as file:
        file["image"] = np.zeros((64, 64, 3), np.uint8)
        file.attrs.update({"mpp": 40.0, "level": 0, "slide": "s"})
    plan = np.zeros((64, 64), np.uint8)
    for y in (5, 35):
        for x in (5, 35):
            plan[y : y + 20, x : x + 20] = 255
    Image.fromarray(plan).save(folder / "plan.png")
    whole = {"x_from": 0, "x_to": 1, "y_from": 0, "y_to": 1}
    both = [{"slide": s, "patient": s, "split": p, **whole} for s, p in (("a", "train"), ("b", "validation"))]
    found = {row["name"]: row for row in fragment_metrics(tmp_path / "synthetic", tmp_path / "tissue", both)}
    assert found["fragment_count"]["value"] == 3
    assert found["fragment_area"]["value"] == pytest.approx(2.56 - 0.64)
    assert found["fragment_area"]["mpp"] == 40
    assert found["fragment_solidity"]["value"] == pytest.approx(0, abs=0.02)


def test_both_sides_medians_stand_beside_their_means():
    """Two of three generated nuclei are small, one is large: the mean lies between, where no nucleus is."""

    def side(name, radii):
        images = [planted(grid(14, jitter=2), r, r) for r in radii]
        text = np.array([f"{name}{k}" for k in range(len(images))])
        return ImageSet(name, np.stack(images), np.full(len(images), MPP), text, text)

    parts = (("train", [3.6] * 3), ("held_out", [3.6] * 3), ("generated", [2.8, 2.8, 5.2]))
    sets = Sets(*(side(*part) for part in parts))
    options = Evaluation(morphology_images=3, n_resamples=10)
    rows = morphology_metrics(sets, {MPP: [np.arange(3)] * 3}, options, seed=1)
    (area,) = [row for row in rows if row["name"] == "nucleus_area"]
    small = np.pi * 2.8**2
    assert area["generated_median"] == pytest.approx(small, rel=0.25)
    assert area["generated"] > 1.2 * area["generated_median"]
    assert area["real_median"] == pytest.approx(np.pi * 3.6**2, rel=0.25)
    angle = next(row for row in rows if row["name"] == "stain_vectors")
    assert angle["real_median"] is None and set(angle) == set(area), "one table holds all rows"
