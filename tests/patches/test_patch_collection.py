"""The patches of one split, over many files."""

import multiprocessing
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from histogenesis.core.errors import BadInput
from histogenesis.patches.dataset import PatchCollection
from histogenesis.patches.splits import write_splits
from histogenesis.patches.store import Cut, write_store

P = 8


def image(slide, k):
    """A patch that knows where it came from."""
    picture = np.full((P, P, 3), k, np.uint8)
    picture[0, 0, 0] = slide
    return picture


def entry(slide, split, x_from=0.0, x_to=1.0):
    return {"slide": slide, "patient": slide, "split": split, "x_from": x_from, "x_to": x_to}


@pytest.fixture
def folder(tmp_path):
    """Three slides of 100 x 100 px at 1 mpp: patches at x = 0, 10, ... of 8 px (1 mpp) and 16 px (2 mpp); `c` is empty."""
    for number, name in enumerate("ab"):
        x = np.arange(0, 90, 10)
        coords = np.stack([np.concatenate([x, x[:8]]), np.zeros(17, int)], axis=1)
        cut = Cut(name, P, 100, 100, 1.0, coords, np.repeat([1.0, 2.0], [9, 8]), np.full(17, 0.5, np.float32))
        write_store(tmp_path / f"{name}.h5", cut, (image(number, k) for k in range(17)))
    write_store(tmp_path / "c.h5", Cut("c", P, 100, 100, 1.0, skipped={1.0: "no place has 10% tissue"}), [])
    write_splits(tmp_path / "splits.tsv", [entry("a", "train"), entry("b", "validation"), entry("c", "train")])
    return tmp_path


def collection(folder, split="train"):
    return PatchCollection(folder, folder / "splits.tsv", split)


def test_whole_slides(folder):
    train = collection(folder)
    assert len(train) == 17
    assert train.mpp.dtype == np.float64
    assert set(train.slide) == {"a"}
    assert set(collection(folder, "validation").slide) == {"b"}
    order = np.array([16, 0, 3, 3])
    found = train.read(order)
    assert found.shape == (4, P, P, 3)
    assert found.dtype == np.uint8
    assert found[:, 5, 5, 1].tolist() == [16, 0, 3, 3]
    assert train.read([]).shape == (0, P, P, 3)


def test_regions_leave_straddlers_out(folder):
    """Of a part of the width only patches that lie wholly inside: at 1 mpp 8 px wide, at 2 mpp 16."""
    write_splits(folder / "splits.tsv", [entry("a", "train", 0, 0.5), entry("a", "validation", 0.5, 1.0)])
    train, held_out = collection(folder), collection(folder, "validation")
    assert train.coords[train.mpp == 1.0][:, 0].tolist() == [0, 10, 20, 30, 40]
    assert train.coords[train.mpp == 2.0][:, 0].tolist() == [0, 10, 20, 30]  # 40 + 16 straddles
    assert held_out.coords[held_out.mpp == 1.0][:, 0].tolist() == [50, 60, 70, 80]
    assert held_out.coords[held_out.mpp == 2.0][:, 0].tolist() == [50, 60, 70]
    assert len(train) + len(held_out) == 16
    assert held_out.read([0])[0, 5, 5, 0] == 5


def test_reading_over_many_files(folder):
    """In any order over slides, with fewer files open at once than there are."""
    write_splits(folder / "splits.tsv", [entry("a", "train"), entry("b", "train")])
    both = collection(folder)
    both._reader.open_files = 1
    order = np.random.default_rng(0).permutation(34)
    found = both.read(order)
    assert found[:, 0, 0, 0].tolist() == (order // 17).tolist()
    assert found[:, 5, 5, 1].tolist() == (order % 17).tolist()


def child(patches, queue):
    queue.put(patches.read(np.arange(17))[:, 5, 5, 1].tolist())


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_in_other_processes(folder, start):
    """A child that inherits open files, or gets a pickle, reads the same."""
    patches = collection(folder)
    patches.read([0])
    context = multiprocessing.get_context(start)
    queue = context.Queue()
    workers = [context.Process(target=child, args=(patches, queue)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for _ in workers:
        assert queue.get(timeout=60) == list(range(17))
    for worker in workers:
        worker.join()
    assert patches.read([2])[0, 5, 5, 1] == 2


def test_in_threads_and_pickled(folder):
    write_splits(folder / "splits.tsv", [entry("a", "train"), entry("b", "train")])
    patches = pickle.loads(pickle.dumps(collection(folder)))
    patches._reader.open_files = 1
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda k: patches.read([k, (k + 17) % 34])[:, 5, 5, 1].tolist(), range(34)))
    assert found == [[k % 17] * 2 for k in range(34)]


def test_no_patches_says_which_and_what_to_do(folder):
    write_splits(folder / "splits.tsv", [entry("a", "train", 0.0, 0.05), entry("c", "train")])
    with pytest.raises(BadInput) as error:
        collection(folder)
    for part in ("'train'", "a: none of 17 patches", "c: 1 mpp no place has 10% tissue", "remedy"):
        assert part in str(error.value)
    with pytest.raises(BadInput, match="splits are train"):
        collection(folder, "test")


def test_missing_file_is_named(folder):
    (folder / "a.h5").unlink()
    with pytest.raises(BadInput, match=r"a\.h5"):
        collection(folder)
