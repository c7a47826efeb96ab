"""The utility script, from labelled files to numbers: on real colon patches, and on files that are missing or wrong."""

import csv
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from histogenesis.core.errors import BadInput
from histogenesis.evaluation.labelled import read_labelled


def measure(root, *arguments):
    command = [sys.executable, root / "workflow/scripts/measure_utility.py", *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False, env=environment)


def write_table(path, images, rows):
    """Small copies of the images, and the table that lists them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file", "class", "group"])
        for i, (image, row) in enumerate(zip(images, rows)):
            Image.fromarray(image).save(path.parent / f"{i}.png")
            table.writerow([f"{i}.png", row["class"], row["tile_group"]])


def test_colon_patches(root, test_data, tmp_path):
    """Adenocarcinoma or normal, split by tile; noisy copies of the training patches stand for generated ones."""
    folder = test_data / "patches" / "lc25000_colon_224"
    with open(folder / "labels.csv", newline="") as file:
        rows = [row | {"tile_group": row["class"] + row["tile_group"]} for row in csv.DictReader(file)]
    first = {row["tile_group"]: row for row in rows}  # one of the eight turned copies of each tile
    groups = sorted(first)
    parts = [first[g] for i, g in enumerate(groups) if i % 3], [first[g] for i, g in enumerate(groups) if i % 3 == 0]
    train, test = (
        [np.asarray(Image.open(folder / r["class"] / r["file"]).resize((32, 32), Image.Resampling.BOX)) for r in part]
        for part in parts
    )
    noise = np.random.default_rng(0).normal(0, 12, np.stack(train).shape)
    made = (np.stack(train) + noise).clip(0, 255).astype(np.uint8)
    for name, images, part in (("real", train, parts[0]), ("made", made, parts[0]), ("test", test, parts[1])):
        write_table(tmp_path / name / "labels.csv", images, part)
    files = [
        f"--{key}={tmp_path / name / 'labels.csv'}"
        for key, name in (("real", "real"), ("generated", "made"), ("test", "test"))
    ]
    settings = ["--network", "small", "--seeds", 2, "--steps", 150, "--batch", 32, "--lr", 5e-3]
    done = measure(root, *files, *settings, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "out" / "utility.json").read_text())
    assert found["classes"] == ["colon_aca", "colon_n"]
    for arm in ("real", "generated", "real + generated"):
        part = found["arms"][arm]
        assert part["value"] > 0.65  # 0.5 is chance
        assert np.sum(part["confusion"]) == 2 * len(test)
        assert part["low"] <= part["value"] <= part["high"]
    assert found["arms"]["real + generated"]["n_train"] == 2 * len(train)
    assert "generated: accuracy" in done.stdout
    assert "step" in done.stderr  # progress
    assert Image.open(tmp_path / "out" / "utility.png").width > 800
    leak = [files[0], files[1], files[0].replace("--real", "--test")]
    refused = measure(root, *leak, *settings, "--out", tmp_path / "leak")
    assert refused.returncode == 1
    assert refused.stderr.startswith("error: training and test patches share")
    assert "Traceback" not in refused.stderr


def test_folders_and_tables(tmp_path):
    rng = np.random.default_rng(0)
    for name, mode in (
        ("a/1.png", "RGB"),
        ("a/2.png", "L"),
        ("b/deep/1.jpg", "RGB"),
        ("b/2.png", "RGBA"),
        ("b/note.txt", ""),
    ):
        path = tmp_path / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if mode:
            Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).convert(mode).save(path)
        else:
            path.write_text("not an image")
    found = read_labelled(tmp_path / "set")
    assert found.images.shape == (4, 8, 8, 3)
    assert found.labels.tolist() == ["a", "a", "b", "b"]
    assert len(set(found.groups)) == 4
    table = tmp_path / "set" / "t.tsv"
    table.write_text("file\tclass\tgroup\na/1.png\tx\tp\nb/2.png\ty\tp\n")
    assert read_labelled(table).groups.tolist() == ["p", "p"]
    for text, words in (
        ("file\tclas\n", "no column class"),
        ("file\tclass\n", "holds no images"),
        ("file\tclass\nc.png\tx\n", "no such image"),
    ):
        table.write_text(text)
        with pytest.raises(BadInput, match=words):
            read_labelled(table)
    table.write_text("file\tclass\nb/note.txt\tx\n")
    with pytest.raises(BadInput, match="no image that can be read"):
        read_labelled(table)
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(tmp_path / "set" / "a" / "3.png")
    with pytest.raises(BadInput, match="2 sizes"):
        read_labelled(tmp_path / "set")
    with pytest.raises(BadInput, match="no such folder"):
        read_labelled(tmp_path / "absent")
