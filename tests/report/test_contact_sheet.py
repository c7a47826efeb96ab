"""The contact sheet shows what it says it does: held-out patches above tissue of the synthetic slide, at one scale."""

import subprocess
import sys

import h5py
import numpy as np
import pytest
from PIL import Image

from histogenesis.report import contact
from histogenesis.report.contact import draw_contact_sheet


def rows_of(monkeypatch, run, seed=1, columns=4):
    found = []
    monkeypatch.setattr(contact, "_draw", lambda sheet, columns: found.extend(sheet))
    draw_contact_sheet(run / "patches/main", run / "splits.tsv", run / "synthetic/synthetic_001", columns, seed)
    return found


def test_real_rows_are_held_out_and_synthetic_rows_are_of_that_level(monkeypatch, made_up_run):
    rows = rows_of(monkeypatch, made_up_run)
    assert [row.mpp for row in rows] == [16, 16, 8, 8, 4, 4]
    with h5py.File(made_up_run / "patches/main/colon_3.h5") as file:
        for row in rows[::2]:
            held_out = file["imgs"][()][file["mpp"][()] == row.mpp]
            assert "validation" in row.title
            assert len(row.patches) == 4
            assert all((patch == held_out).all(axis=(1, 2, 3)).any() for patch in row.patches)
    for k, row in enumerate(rows[1::2]):
        assert row.patches.shape[1:] == (32, 32, 3)
        with h5py.File(made_up_run / f"synthetic/synthetic_001/level{k}.h5") as file:
            windows = np.lib.stride_tricks.sliding_window_view(file["image"][()], (32, 32, 3))[:, :, 0]
        assert all((windows == patch).all(axis=(2, 3, 4)).any() for patch in row.patches)
        assert (row.patches < 240).any(axis=(1, 2, 3)).all()  # tissue in each


def test_places_are_those_of_the_seed_and_do_not_overlap(monkeypatch, made_up_run):
    first, again, other = (rows_of(monkeypatch, made_up_run, seed) for seed in (1, 1, 2))
    assert all(np.array_equal(a.patches, b.patches) for a, b in zip(first, again))
    assert not all(np.array_equal(a.patches, b.patches) for a, b in zip(first, other))
    assert len(first[1].patches) == 1  # 40 x 56 px have room for one window of 32


def test_an_mpp_without_held_out_patch_says_so(monkeypatch, made_up_run):
    with h5py.File(made_up_run / "patches/main/colon_3.h5", "a") as file:
        file["mpp"][...] = 16.0
    rows = rows_of(monkeypatch, made_up_run)
    assert len(rows[0].patches) == 4
    assert len(rows[2].patches) == 0
    assert "no held-out patch" in rows[2].note
    assert len(rows[3].patches) > 0


def test_the_command_draws_the_same_png_twice(made_up_run, root):
    command = [sys.executable, root / "workflow/scripts/draw_contact_sheet.py", "--seed", "1"]
    command += ["--patches", made_up_run / "patches/main", "--splits", made_up_run / "splits.tsv"]
    command += ["--levels-dir", made_up_run / "synthetic/synthetic_001", "--options", '{"contact_sheet": 3}']
    for name in ("one.png", "two.png"):
        subprocess.run([*command, "--out", made_up_run / name], check=True)
    assert (made_up_run / "one.png").read_bytes() == (made_up_run / "two.png").read_bytes()
    with Image.open(made_up_run / "one.png") as sheet:
        assert sheet.width == 3 * (contact.CELL_PX + contact.GAP_PX) + contact.GAP_PX
        assert sheet.height > 6 * contact.CELL_PX
    failed = subprocess.run(
        [str(part).replace("synthetic_001", "nothing") for part in command] + ["--out", str(made_up_run / "x.png")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert failed.returncode
    assert "Traceback" not in failed.stderr


@pytest.mark.parametrize("tall,wide", [(20, 80), (33, 32)])
def test_a_canvas_smaller_than_a_patch_is_compared_at_its_own_size(monkeypatch, made_up_run, tall, wide):
    with h5py.File(made_up_run / "synthetic/synthetic_001/level0.h5", "a") as file:
        del file["image"]
        file["image"] = np.full((tall, wide, 3), 100, np.uint8)
    rows = rows_of(monkeypatch, made_up_run)
    assert rows[0].patches.shape[1:3] == rows[1].patches.shape[1:3] == (min(32, tall),) * 2
