"""Labelled patches: image folders, tables, PatchCamelyon's HDF5 and Kaggle's copy; groups stay together, leaks are refused."""

import csv
import json

import h5py
import numpy as np
import pytest
from PIL import Image

from histogenesis.core.errors import BadInput
from histogenesis.patches.dataset import PatchCollection
from histogenesis.patches.groups import split_groups
from histogenesis.patches.labelled import picture_digest, read_labelled_set
from histogenesis.patches.splits import write_splits
from histogenesis.patches.store import read_texts
from histogenesis.recipe import LabelledPatches, RecipeError, Split, parse_recipe


def picture(seed: int, px: int = 12) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (px, px, 3), np.uint8)


def options(**values) -> LabelledPatches:
    return LabelledPatches(**{"kind": "folder", "path": "unused", "size_px": 8, **values})


@pytest.fixture
def table(tmp_path):
    """40 pictures: 2 of each of 20 tiles, the second one the first one turned; tiles 0 to 9 are of class a."""
    rows = []
    for tile in range(20):
        for turn in range(2):
            file = f"{tile}_{turn}.png"
            Image.fromarray(np.rot90(picture(tile), turn)).save(tmp_path / file)
            rows.append({"file": file, "class": "a" if tile < 10 else "b", "tile": f"t{tile}"})
    with open(tmp_path / "labels.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, ["file", "class", "tile"])
        writer.writeheader()
        writer.writerows(rows)
    return tmp_path / "labels.csv"


def store_of(path, out, **values):
    read_labelled_set("set", path, options(**values), 1, out / "set.h5")
    return out / "set.h5"


def test_a_table_becomes_a_patch_file_with_class_group_and_the_exact_centre(table, tmp_path):
    store = store_of(table, tmp_path / "out", group_column="tile", mpp=0.5)
    with h5py.File(store) as file:
        assert read_texts(file, "label").tolist() == ["a"] * 20 + ["b"] * 20
        assert read_texts(file, "group").tolist() == [f"t{tile}" for tile in range(20) for _ in range(2)]
        assert read_texts(file, "source")[3] == "1_1.png"
        assert np.array_equal(file["imgs"][6], picture(3)[2:10, 2:10])
        assert (file["mpp"][:] == 0.5).all() and (file["coords"][:] == -1).all()


def test_a_larger_field_is_averaged_down_and_its_mpp_grows_alike(table, tmp_path):
    wanted = options(field_px=12, size_px=6, group_column="tile", mpp=0.5)
    assert wanted.mpps == [1.0]
    store = store_of(table, tmp_path / "out", field_px=12, size_px=6, group_column="tile", mpp=0.5)
    mean = picture(3).reshape(6, 2, 6, 2, 3).mean(axis=(1, 3))
    with h5py.File(store) as file:
        assert np.abs(file["imgs"][6] - mean).max() <= 0.5 and (file["mpp"][:] == 1.0).all()


def test_groups_are_kept_together(table, tmp_path):
    store = store_of(table, tmp_path / "out", group_column="tile")
    entries = split_groups(store, Split(validation=0.3, seed=3))
    assert sorted(e["patient"] for e in entries) == sorted(f"t{tile}" for tile in range(20))
    assert [e["split"] for e in entries].count("validation") == 6
    write_splits(store.parent / "splits.tsv", entries)
    parts = [PatchCollection(store.parent, store.parent / "splits.tsv", s) for s in ("train", "validation")]
    assert [len(part) for part in parts] == [28, 12]
    assert not set(parts[0].patient) & set(parts[1].patient)
    only = PatchCollection(store.parent, store.parent / "splits.tsv", "train", classes=["b"])
    assert set(only.label) == {"b"} and set(only.patient) < set(parts[0].patient)
    assert only.digest != parts[0].digest
    k = int(np.flatnonzero(parts[1].patient == parts[1].patient[-1])[0])
    tile = int(parts[1].patient[k][1:])
    assert np.array_equal(parts[1].read([k])[0], picture(tile)[2:10, 2:10])


def test_without_a_group_column_copies_stay_together_by_what_they_show(table, tmp_path):
    """Each tile is there twice, turned: known by their pixels, they are one group."""
    store = store_of(table, tmp_path / "out")
    with h5py.File(store) as file:
        groups = read_texts(file, "group")
    assert len(set(groups)) == 20 and (groups[::2] == groups[1::2]).all()


def test_a_picture_on_both_sides_under_two_names_is_refused(table, tmp_path):
    store = store_of(table, tmp_path / "out", group_column="file")
    with pytest.raises(BadInput, match="both trained on and held out, under different groups"):
        split_groups(store, Split(validation=0.5))


def test_one_colour_is_no_leak(tmp_path):
    assert picture_digest(np.full((8, 8, 3), 255, np.uint8)) == ""
    for k in range(6):
        (tmp_path / "ab"[k % 2]).mkdir(exist_ok=True)
        Image.new("RGB", (8, 8), "white").save(tmp_path / "ab"[k % 2] / f"{k}.png")
    store = store_of(tmp_path, tmp_path / "out")
    assert {e["split"] for e in split_groups(store, Split(validation=0.5))} == {"train", "validation"}


def test_a_class_without_held_out_patches_is_refused(tmp_path):
    for k, label in enumerate("aaaaaaab"):
        (tmp_path / label).mkdir(exist_ok=True)
        Image.fromarray(picture(k)).save(tmp_path / label / f"{k}.png")
    store = store_of(tmp_path, tmp_path / "out")
    with pytest.raises(BadInput, match="patch is of class b, with 8 groups"):
        split_groups(store, Split(validation=0.25))


def camelyon(folder, wsi=None):
    for name, n, start in (("train", 8, 0), ("valid", 4, 100), ("test", 4, 200)):
        stem = f"camelyonpatch_level_2_split_{name}"
        with h5py.File(folder / f"{stem}_x.h5", "w") as file:
            file["x"] = np.stack([picture(start + k, 96) for k in range(n)])
        with h5py.File(folder / f"{stem}_y.h5", "w") as file:
            file["y"] = (np.arange(n) % 2).astype(np.uint8).reshape(-1, 1, 1, 1)
        with open(folder / f"{stem}_meta.csv", "w") as file:
            file.write("coord_y,coord_x,tumor_patch,center_tumor_patch,wsi\n")
            file.writelines(f"0,0,True,True,{wsi or name}_{k // 2}\n" for k in range(n))


def test_patchcamelyon_keeps_its_own_splits_and_its_slides_together(tmp_path):
    camelyon(tmp_path)
    store = store_of(tmp_path, tmp_path / "out", kind="patchcamelyon", size_px=32, mpp=0.972)
    with h5py.File(store) as file:
        assert file["imgs"].shape == (16, 32, 32, 3)
        assert np.array_equal(file["imgs"][9], picture(101, 96)[32:64, 32:64]), "the central 32 px"
        assert read_texts(file, "label").tolist() == ["0", "1"] * 8
    splits = {e["patient"]: e["split"] for e in split_groups(store, Split())}
    assert splits == {"train_0": "train", "train_1": "train", "train_2": "train", "train_3": "train"} | {
        "valid_0": "validation", "valid_1": "validation", "test_0": "test", "test_1": "test"
    }  # fmt: skip


def test_a_slide_of_patchcamelyon_in_two_splits_is_refused(tmp_path):
    camelyon(tmp_path, wsi="same")
    store = store_of(tmp_path, tmp_path / "out", kind="patchcamelyon", size_px=32)
    with pytest.raises(BadInput, match=r"group same_0 is in two splits \(train, validation\)"):
        split_groups(store, Split())


def test_kaggles_layout(tmp_path):
    (tmp_path / "train").mkdir()
    for k in range(6):
        Image.fromarray(picture(k, 96)).save(tmp_path / "train" / f"id{k}.tif")
    lines = "".join(f"id{k},{k % 2}\n" for k in range(6))
    (tmp_path / "train_labels.csv").write_text("id,label\n" + lines)
    store = store_of(tmp_path, tmp_path / "out", kind="kaggle", size_px=32, classes=["1"])
    with h5py.File(store) as file:
        assert read_texts(file, "source").tolist() == ["train/id1.tif", "train/id3.tif", "train/id5.tif"]
        assert np.array_equal(file["imgs"][1], picture(3, 96)[32:64, 32:64])
        assert np.isnan(file["mpp"][:]).all(), "Kaggle's files do not say their mpp"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"path": "absent.csv"}, "no such folder or table"),
        ({"path": "labels.csv", "class_column": "kind"}, r"no column kind \(file, class, tile\)"),
        ({"path": "labels.csv", "size_px": 16}, "is 12 x 12 px, and 16 px are wanted"),
        ({"path": "labels.csv", "classes": ["a", "c"]}, "no patch is of class c; there are a, b"),
    ],
)
def test_what_cannot_be_read_is_named(table, tmp_path, values, message):
    with pytest.raises(BadInput, match=message):
        store_of(table.parent / values.pop("path"), tmp_path / "out", **values)


def test_a_choice_of_each_class_is_the_same_whatever_the_order(table, tmp_path):
    first = store_of(table, tmp_path / "first", per_class=5)
    lines = table.read_text().splitlines()
    table.write_text("\n".join([lines[0], *reversed(lines[1:])]) + "\n")
    second = store_of(table, tmp_path / "second", per_class=5)
    with h5py.File(first) as a, h5py.File(second) as b:
        assert sorted(read_texts(a, "source")) == sorted(read_texts(b, "source"))
        assert read_texts(a, "label").tolist().count("a") == 5 == read_texts(a, "label").tolist().count("b")


def test_nothing_that_needs_the_mpp_takes_patches_without_one():
    training = {"steps": 1}
    recipe = {
        "run": "x",
        "patches": {"p": {"kind": "folder", "path": "p", "size_px": 64}},
        "models": {"m": {"patches": "p", "training": training}},
        "samples": {"s": {"model": "m"}},
    }
    with pytest.raises(RecipeError, match=r"models.m: it is told the mpp, which patch set 'p' does not know"):
        parse_recipe(recipe)
    recipe["models"]["m"]["conditions"] = []
    parse_recipe(recipe)
    level = {"mpp": 1, "size_px": [64, 64], "model": "m", "tile_px": 64}
    slides = {"phantoms": [{"name": "a"}]}
    with pytest.raises(RecipeError, match=r"levels\[0\]: model 'm' learns mpps \[\] and never sees 1"):
        parse_recipe(recipe | {"synthetic": {"levels": [level]}, "slides": slides})


def test_the_real_colon_patches(test_data, tmp_path):
    """About 184 tiles a class, each turned and mirrored about eight times."""
    table = test_data / "patches/lc25000_colon_224/labels.csv"
    if not table.exists():
        pytest.skip(f"{table} is not here")
    store = store_of(table, tmp_path, size_px=32, field_px=224, group_column="tile_group", per_class=60)
    entries = split_groups(store, Split(validation=0.2))
    write_splits(tmp_path / "splits.tsv", entries)
    train, held_out = (PatchCollection(tmp_path, tmp_path / "splits.tsv", s) for s in ("train", "validation"))
    assert train.classes == held_out.classes == ["colon_aca", "colon_n"] and len(train) + len(held_out) == 120
    assert not set(train.patient) & set(held_out.patient)
    assert json.loads(json.dumps(train.classes))
