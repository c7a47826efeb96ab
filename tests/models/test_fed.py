"""What a training is fed: the same whatever the ranks, wherever it is made, and from whatever the patches are read."""

import h5py
import numpy as np
import pytest
import torch
from scipy import stats

from histogenesis.core.errors import BadInput
from histogenesis.models.batches import Batches, normalisation_of
from histogenesis.models.keyed import LOWRES, NOISE, normals
from histogenesis.models.normalisation import Normalisation
from histogenesis.patches.dataset import PatchCollection
from histogenesis.patches.pixels import PixelReader, pack_store, raw_patches
from histogenesis.patches.splits import write_splits
from histogenesis.patches.store import Cut, write_store

KEYS = torch.tensor([1, 2, -5, 2**40 + 1])


class Pictures:
    """Patches with a wider view, and crops that are read as such."""

    patch_px, label = 16, np.array(["a", "b"] * 10)
    mpp = np.repeat([1.0, 2.0], 10)

    def __init__(self):
        rng = np.random.default_rng(0)
        self.images, self.contexts = rng.integers(0, 256, (2, 20, 16, 16, 3), dtype=np.uint8)
        self.cropped = 0

    def __len__(self):
        return 20

    def read(self, indices):
        return self.images[indices]

    def read_context(self, indices, corners=(), side_px=None):
        return self._windows(self.contexts[indices], corners, side_px) if side_px else self.contexts[indices]

    def read_windows(self, indices, corners, side_px):
        self.cropped += len(indices)
        return self._windows(self.images[indices], corners, side_px)

    def _windows(self, pictures, corners, side):
        return np.stack([p[y : y + side, x : x + side] for p, (y, x) in zip(pictures, corners)])


def batches(patches=None, **options):
    conditions = options.pop("conditions", ["mpp", "context"])
    return Batches(
        patches or Pictures(), Normalisation.unit(), torch.exp, 3, True, conditions, classes=["a", "b"], **options
    )


def same(a, b):
    return all(torch.equal(x, y) if x is not None else y is None for x, y in zip(a, b))


def test_noise_is_normal_and_its_own_for_every_sample_and_purpose():
    drawn = normals(KEYS, torch.Size((3, 64, 64)), NOISE)
    for one in drawn:
        assert stats.kstest(one.flatten().numpy(), "norm").pvalue > 1e-3
    others = [*drawn, *normals(KEYS, torch.Size((3, 64, 64)), LOWRES)]
    correlation = np.corrcoef([one.flatten().numpy() for one in others])
    assert np.abs(correlation - np.eye(8)).max() < 5 / np.sqrt(3 * 64 * 64)
    neighbours = drawn[..., 1:] * drawn[..., :-1]
    assert abs(float(neighbours.mean())) < 5 / np.sqrt(neighbours.numel())


def test_noise_is_a_function_of_the_key_alone():
    shape = torch.Size((3, 200, 200))  # more counters than are worked out at once
    drawn = normals(KEYS, shape, NOISE)
    assert torch.equal(normals(KEYS[1:3].flip(0), shape, NOISE), drawn[1:3].flip(0))
    assert not torch.equal(normals(KEYS + 1, shape, NOISE)[0], drawn[0])


LOWER = {"crop_px": 8, "conditions": ["lowres"], "lowres_factor": 4}


@pytest.mark.parametrize("options", [{}, {"crop_px": 8}, LOWER])
def test_a_sample_is_the_same_in_any_share_of_the_batch(options):
    whole, parts = batches(**options).read(7, range(12)), batches(**options)
    for share in (range(0, 5), range(5, 12)):
        part = parts.read(7, share)
        assert same(part, [t if t is None else t[share.start : share.stop] for t in whole])
    assert not torch.equal(parts.read(8, range(12)).noise, whole.noise)


@pytest.mark.parametrize(
    "options", [{}, {"crop_px": 8}, {"crop_px": 8, "conditions": ["lowres", "context"], "lowres_factor": 4}]
)
def test_patches_that_are_held_give_the_same_training(options):
    read, held = batches(**options), batches(**options)
    assert held.cache_on("cpu") and held.pick(3, range(4)).pictures == []
    assert same(read.read(3, range(8)), held.read(3, range(8)))


def test_a_crop_is_cut_as_it_is_read_and_shows_what_a_later_cut_would():
    patches = Pictures()
    fed, late = batches(patches, crop_px=8), batches(Pictures(), crop_px=8)
    picked = fed.pick(0, range(6))
    assert patches.cropped == 6 and all(p.shape == (6, 8, 8, 3) for p in picked.pictures)
    late.cache_on("cpu")
    assert same(fed.make(picked), late.read(0, range(6)))


def test_what_is_shown_is_a_patch_turned():
    patches = Pictures()
    batch = batches(patches).read(0, range(64))
    shown = Normalisation.unit().to_uint8(batch.image).permute(0, 2, 3, 1).numpy()
    views = {np.rot90(v, k).tobytes() for p in patches.images for v in (p, p[:, ::-1]) for k in range(4)}
    assert all(one.tobytes() in views for one in shown) and len({one.tobytes() for one in shown}) > 40
    cond = Normalisation.unit().to_uint8(batch.cond_image).permute(0, 2, 3, 1).numpy()
    both = {
        (np.rot90(a, k).tobytes(), np.rot90(b, k).tobytes())
        for p, c in zip(patches.images, patches.contexts)
        for a, b in ((p, c), (p[:, ::-1], c[:, ::-1]))
        for k in range(4)
    }
    assert all((a.tobytes(), b.tobytes()) in both for a, b in zip(shown, cond)), "the wider view is turned with it"


# ---------------------------------------------------------------------- reading


@pytest.fixture
def stores(tmp_path):
    """Stores as they are written, and one that another program wrote in its own layout."""
    rng, pictures = np.random.default_rng(1), []
    for n, chunks in enumerate([(1, 8, 8, 3), (1, 8, 8, 3), (4, 8, 8, 3)]):
        pictures.append(rng.integers(0, 256, (6, 8, 8, 3), dtype=np.uint8))
        with h5py.File(tmp_path / f"{n}.h5", "w") as file:
            file.create_dataset("mpp", data=np.ones(6))
            file.create_dataset("imgs", data=pictures[-1], chunks=chunks, compression="gzip" if n == 1 else None)
    return [tmp_path / f"{n}.h5" for n in range(3)], pictures


def test_pixels_are_read_past_hdf5_and_are_the_same(stores):
    paths, pictures = stores
    reader = PixelReader(paths, 8)
    for n, of_file in enumerate(pictures):
        for row, wanted in enumerate(of_file):
            whole, window = np.empty((8, 8, 3), np.uint8), np.empty((4, 3, 3), np.uint8)
            reader.read("imgs", n, row, whole)
            reader.read("imgs", n, row, window, 2, 5)
            assert (whole == wanted).all() and (window == wanted[2:6, 5:8]).all()
    with h5py.File(paths[0]) as raw, h5py.File(paths[1]) as packed, h5py.File(paths[2]) as other:
        assert raw_patches(raw["imgs"]) is not None
        assert raw_patches(packed["imgs"]) is None and raw_patches(other["imgs"]) is None
    reader.close()


def test_more_files_than_may_be_open_are_read_all_the_same(stores):
    paths, pictures = stores
    reader = PixelReader(paths, 8)
    reader.open_files = 1
    out = np.empty((8, 8, 3), np.uint8)
    for n in (0, 1, 0, 2, 0):
        reader.read("imgs", n, 3, out)
        assert (out == pictures[n][3]).all()
    assert len(reader.handles) <= 1


def test_a_store_that_was_cut_off_is_named(stores, tmp_path):
    paths, _ = stores
    reader = PixelReader(paths, 8)
    out = np.empty((8, 8, 3), np.uint8)
    reader.read("imgs", 0, 0, out)
    with open(paths[0], "r+b") as file:
        file.truncate(3000)
    with pytest.raises(BadInput, match=r"0\.h5: damaged: it ends before its patches do"):
        reader.read("imgs", 0, 5, out)


def test_the_units_are_those_of_all_mpps_alike():
    patches = Pictures()
    patches.images[:10] //= 2
    found = normalisation_of(patches, 0.5)
    assert found.mean == pytest.approx(patches.images.reshape(-1, 3).mean(axis=0), abs=1)


def test_patches_kept_as_jpeg_are_smaller_and_nearly_the_same(tmp_path):
    """The store that cutting writes, packed: read as before, whole and in windows, and known by its quality."""
    y, x = np.mgrid[:64, :64]
    waves = np.stack([140 + 60 * np.sin((x + 3 * n) / 9) * np.cos(y / 7) for n in range(5)])
    pictures = np.stack([waves, 0.6 * waves, 255 - 0.5 * waves], axis=-1).round().astype(np.uint8)
    cut = Cut("s", 64, 640, 64, 1.0)
    cut.coords = np.stack([64 * np.arange(5), np.zeros(5)], axis=1).astype(np.int64)
    cut.mpp, cut.tissue = np.ones(5), np.ones(5, np.float32)
    write_store(tmp_path / "s.h5", cut, pictures)
    splits = tmp_path / "splits.tsv"
    write_splits(splits, [{"slide": "s", "patient": "p", "split": "train", "x_from": 0.0, "x_to": 1.0}])
    raw, raw_bytes = PatchCollection(tmp_path, splits, "train"), (tmp_path / "s.h5").stat().st_size
    assert (raw.read(range(5)) == pictures).all()
    pack_store(tmp_path / "s.h5", 90)
    packed = PatchCollection(tmp_path, splits, "train")
    found = packed.read([4, 0, 2])
    assert np.abs(found.astype(int) - pictures[[4, 0, 2]]).mean() < 2
    assert (packed.read_windows([4], [(8, 16)], 32)[0] == found[0][8:40, 16:48]).all()
    assert (tmp_path / "s.h5").stat().st_size < raw_bytes / 2 and packed.digest != raw.digest
