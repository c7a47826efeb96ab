"""HDF5 files that show damage. Checksums are compared with HDF5's own; damage is planted at every kind of place."""

import shutil

import h5py
import numpy as np
import pytest

from histogenesis.canvas.canvas import Level, write_level
from histogenesis.core.errors import BadInput
from histogenesis.core.hdf5 import FORMAT, Checked, fletcher32, reading
from histogenesis.core.whole import Damaged
from histogenesis.metrics.coherence.strips import open_levels
from histogenesis.patches.pixels import PixelReader, pack_store
from histogenesis.patches.store import Cut, write_store

RNG = np.random.default_rng(0)
EVERY = 29  # bytes of a file's structure; 1 finds no more


@pytest.mark.parametrize("length", [1, 2, 3, 359, 64 * 64 * 3, 2 * 65536 * 3 + 2])
@pytest.mark.parametrize("fill", ["random", 0, 255])
def test_the_checksum_is_that_of_hdf5(length, fill, tmp_path):
    octets = RNG.integers(0, 256, length, np.uint8) if fill == "random" else np.full(length, fill, np.uint8)
    with h5py.File(tmp_path / "a.h5", "w", libver=FORMAT) as file:
        data = file.create_dataset("a", data=octets, chunks=(length,), fletcher32=True)
        file.flush()
        stored = data.id.read_direct_chunk((0,))[1]
    assert stored == octets.tobytes() + fletcher32(octets)


def store(path):
    """Five patches of two mpps with a text and a column each."""
    cut = Cut("a", 8, 100, 90, 0.5, RNG.integers(0, 90, (5, 2)), np.array([1, 1, 2, 2, 2.0]), np.ones(5, np.float32))
    cut.texts, cut.columns = {"label": list("abcab")}, {"ink": np.arange(5, dtype=np.float32)}
    write_store(path, cut, RNG.integers(0, 256, (5, 8, 8, 3), np.uint8))


def read_store(path):
    with reading(path) as file:
        found = {name: file[name][:].tobytes() for name in sorted(file) if "imgs" not in name}
        found |= {f"{name}@{key}": str(v) for name in ["/", *file] for key, v in file[name].attrs.items()}
        many = len(file["mpp"])
    reader, pixels = PixelReader([path], 8), np.empty((many, 8, 8, 3), np.uint8)
    for k in range(many):
        reader.read("imgs", 0, k, pixels[k])
    return found | {"pixels": pixels.tobytes()}


def level(path):
    rows = RNG.integers(0, 256, (300, 280, 3), np.uint8)
    rows[:256, 256:] = 77  # a chunk of one colour, which is compressed
    write_level(path, [(0, rows)], 300, 280, {"mpp": 4.0, "slide": "s", "background": np.array([1, 2, 3], np.uint8)})


def read_level(path):
    with Level(path) as found:
        return {key: str(value) for key, value in found.attributes.items()} | {
            "image": found.window(0, 0, 300, 280).tobytes()
        }


def packed(path):
    store(path)
    pack_store(path, 90)


@pytest.mark.parametrize("write, read", [(store, read_store), (level, read_level), (packed, read_store)])
def test_a_flipped_bit_is_named_or_changes_nothing_that_is_read(write, read, tmp_path):
    """Many bytes of the first and the last part of the file, where its structure lies, and some between."""
    path = tmp_path / "a.h5"
    write(path)
    right, octets = read(path), path.read_bytes()
    size = len(octets)
    places = sorted(
        {*range(0, min(size, 3000), EVERY), *range(3000, size, size // 40), *range(size - 600, size, EVERY)}
    )
    named = 0
    for place in places:
        damaged = bytearray(octets)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            assert read(path) == right, f"a flip at byte {place} of {size} passes"
        except Damaged as error:
            assert str(error).startswith(f"{path}: damaged: ") and "\n" not in str(error)
            named += 1
    assert named > len(places) / 4


@pytest.mark.parametrize("write, read", [(store, read_store), (level, read_level)])
@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.999])
def test_a_file_that_is_cut_off_is_named(write, read, share, tmp_path):
    path = tmp_path / "a.h5"
    write(path)
    octets = path.read_bytes()
    path.write_bytes(octets[: int(len(octets) * share)])
    with pytest.raises(Damaged, match="damaged"):
        read(path)


def test_of_several_open_files_the_damaged_one_is_named(tmp_path):
    for k in range(3):
        level(tmp_path / f"level{k}.h5")
    octets = bytearray((tmp_path / "level1.h5").read_bytes())
    octets[len(octets) // 2] ^= 1
    (tmp_path / "level1.h5").write_bytes(octets)
    zero, one, two = open_levels(tmp_path)
    with pytest.raises(Damaged, match=r"level1\.h5: damaged: image differs from its checksum at "):
        with zero, one, two:
            [file["image"][:] for file in (zero, one, two)]


def test_an_error_of_another_kind_is_no_damage(tmp_path):
    level(tmp_path / "a.h5")
    with pytest.raises(ZeroDivisionError), Checked(tmp_path / "a.h5"):
        _ = 1 / 0
    with pytest.raises(FileNotFoundError), reading(tmp_path / "b.h5"):
        pass
    with pytest.raises(BadInput, match="no such level"):
        Level(tmp_path / "b.h5")


def test_files_of_other_programs_are_read_as_they_are(tmp_path):
    store(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5") as ours, h5py.File(tmp_path / "b.h5", "w") as theirs:
        for name in ours:
            theirs[name] = ours[name][:]
        theirs.attrs["size_px"] = 8
    assert read_store(tmp_path / "b.h5")["pixels"] == read_store(tmp_path / "a.h5")["pixels"]


def test_crops_are_those_of_the_whole_patch_the_first_time_and_later(tmp_path):
    store(tmp_path / "a.h5")
    shutil.copy(tmp_path / "a.h5", tmp_path / "b.h5")
    reader, whole = PixelReader([tmp_path / "a.h5"], 8), np.empty((8, 8, 3), np.uint8)
    PixelReader([tmp_path / "b.h5"], 8).read("imgs", 0, 3, whole)
    for _ in range(2):
        crop = np.empty((4, 4, 3), np.uint8)
        reader.read("imgs", 0, 3, crop, 2, 3)
        assert (crop == whole[2:6, 3:7]).all()
