"""Where the state of a canvas lies changes no pixel: on the device, in memory, in files, and from one to the other."""

import json
import os
import shutil
import threading
from collections import namedtuple
from itertools import product

import numpy as np
import pytest
import torch
from test_draw import NORMALISATION, After, Shuffled, above, drawing, level, windowed  # noqa: F401, a fixture

from histogenesis.canvas import place as places
from histogenesis.canvas.place import place_of
from histogenesis.canvas.staging import Staging
from histogenesis.canvas.state import State
from histogenesis.core import device
from histogenesis.core.device import precision_on
from histogenesis.core.errors import BadInput
from histogenesis.core.interrupt import Stopped

PLACES = ["host", "device", "files"]


def result(d, folder, **options):
    return d.run(folder, "digest", **options).before("x").float().numpy().copy()


@pytest.mark.parametrize("kind", ["heun", "dpmpp-2m", "ddpm"])
def test_every_place_in_every_order_gives_the_same_pixels(tmp_path, above, kind):  # noqa: F811
    """Also where tiles at the border see px that others have drawn before them."""
    found = []
    for place in PLACES:
        d = drawing(level(kind=kind, start={"sigma": 5}), above)
        assert any(t.core != t.window for t in d.schedule[1].tiles.values())
        d.schedule = Shuffled(d.schedule) if place != "files" else d.schedule
        found.append(result(d, tmp_path / place, place=place))
    assert np.array_equal(found[0], found[1]) and np.array_equal(found[0], found[2])


@pytest.mark.parametrize("joining", ["grid-shift", "average"])
@pytest.mark.parametrize("place", PLACES)
def test_stopped_anywhere_it_goes_on_to_the_same_pixels(tmp_path, above, place, joining):  # noqa: F811
    joined = {"kind": joining} | ({"stride_px": 8} if joining == "average" else {})
    section = level(kind="dpmpp-2m", steps=4).model_validate(
        level(kind="dpmpp-2m", steps=4).model_dump() | {"joining": joined}
    )
    whole, pieces = result(drawing(section, above), tmp_path / "whole"), 0
    while True:
        try:
            found = result(drawing(section, above), tmp_path / "pieces", stop=After(6), place=place)
            break
        except Stopped:
            pieces += 1
    assert pieces > 3 and np.array_equal(whole, found)


@pytest.mark.parametrize("joining", [{"kind": "grid-shift"}, {"kind": "average", "stride_px": 8}])
def test_of_a_finished_level_the_disk_holds_what_its_picture_needs(tmp_path, above, joining):  # noqa: F811
    section = level(kind="dpmpp-2m", steps=4)
    section = section.model_validate(section.model_dump() | {"joining": joining})
    whole = result(drawing(section, above), tmp_path / "a", place="host")
    assert {path.name for path in (tmp_path / "a").iterdir()} == {"journal.json", "x.1"}
    again = drawing(section, above, denoise=lambda *asked: pytest.fail("it is finished"))
    assert np.array_equal(result(again, tmp_path / "a", place="host"), whole)


def test_a_checkpoint_is_written_while_the_next_tiles_are_drawn(tmp_path, above, monkeypatch):  # noqa: F811
    """From a device: writing is held up until more batches are drawn, and it is the state of before that lies there."""
    whole, began, drawn_on = result(drawing(level(), above), tmp_path / "whole"), threading.Event(), threading.Event()
    write, kept, d, asked = State._write_planes, {}, drawing(level(), above), []

    def slowly(state, planes, at):
        if not began.is_set():
            kept.update({name: plane.clone() for name, plane in planes.items()})
            began.set()
            assert drawn_on.wait(60), "the drawing waits for the disk"
            assert all(torch.equal(planes[name], kept[name]) for name in kept), "what is drawn meanwhile shows"
        write(state, planes, at)

    batch = d.draw_batch

    def counted(*args):
        batch(*args)
        asked.append(began.is_set())
        if sum(asked) == 4:
            drawn_on.set()

    monkeypatch.setattr(State, "_write_planes", slowly)
    d.draw_batch = counted
    assert np.array_equal(result(d, tmp_path / "a", place="device", save_every_s=0), whole)
    assert drawn_on.is_set()


@pytest.mark.parametrize("joining", ["grid-shift", "average"])
def test_what_a_batch_has_become_is_put_away_when_the_network_has_the_next(tmp_path, above, monkeypatch, joining):  # noqa: F811
    """As for a GPU; there is none here, so nothing is sent. The pixels are the same, also after stopping and going on."""
    joined = {"kind": joining} | ({"stride_px": 8} if joining == "average" else {})
    section = level(kind="dpmpp-2m", steps=4, start={"sigma": 5})
    section = section.model_validate(section.model_dump() | {"joining": joined})
    whole, events, put, settle = result(drawing(section, above), tmp_path / "whole"), [], Staging.put, Staging.settle

    def asked(x, sigma, mpp):
        events.append("network")
        return windowed(x, sigma, mpp)

    def later(staging, values, plane):
        staging.later = True
        put(staging, values, plane)

    def settled(staging):
        events.extend(["put away"] * bool(staging.coming))
        settle(staging)

    monkeypatch.setattr(Staging, "put", later)
    monkeypatch.setattr(Staging, "settle", settled)
    with pytest.raises(Stopped):
        drawing(section, above, denoise=asked).run(tmp_path / "a", "digest", stop=After(20), place="host")
    assert np.array_equal(result(drawing(section, above), tmp_path / "a", place="host"), whole)
    assert events[:6] == ["network", "network", "put away", "network", "put away", "network"]


def test_a_device_without_bf16_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla V100")
    with pytest.raises(BadInput, match="Tesla V100 has no bf16: set `precision: fp32`, or take a GPU"):
        precision_on("cuda", "bf16")
    assert precision_on("cuda", "fp32") == "fp32"


def test_a_cpu_without_bf16_computes_in_fp32_and_says_so(monkeypatch, capsys):
    """Number by number it had been 32 times as slow: on a CPU of AVX2 the demo would have taken hours."""
    monkeypatch.setattr(device, "cpu_has_bf16", lambda: False)
    assert precision_on("cpu", "bf16") == "fp32" and "no instructions for bf16" in capsys.readouterr().out
    monkeypatch.setattr(device, "cpu_has_bf16", lambda: True)
    assert precision_on("cpu", "bf16") == "bf16" and precision_on("cpu", "fp32") == "fp32"


def resident_mb():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def test_a_canvas_takes_the_memory_of_what_is_drawn_of_it(tmp_path):
    """Two planes of 4,096 px: 403 MB, if they were whole."""
    before = resident_mb()
    state = State(tmp_path, (3, 4096, 4096), "d", ["x", "history"])
    state.write("x", [(slice(0, 512), slice(0, 512))], [torch.ones(3, 512, 512)])
    assert resident_mb() - before < 60
    assert float(state.before("x")[:, :600, :600].sum()) == 3 * 512 * 512


def test_half_precision_takes_half_the_room_and_rounds(tmp_path, above):  # noqa: F811
    """bf16 keeps 8 bits: at a spread of 0.5 (40 grey levels) a state near 1 is rounded by 2^-9, or 0.3 grey levels."""
    section = level(kind="dpmpp-2m", steps=12, start={"sigma": 2})
    planes = drawing(section, above).run(tmp_path / "a", "d")
    half = drawing(section.model_copy(update={"state": "bf16"}), above).run(tmp_path / "b", "d")
    assert half.before("x").dtype == torch.bfloat16
    error = (half.before("x").float() - planes.before("x")) * NORMALISATION.std / NORMALISATION.sigma_data
    assert 0 < float(error.square().mean().sqrt()) < 1.0
    stopped = drawing(section.model_copy(update={"state": "bf16"}), above)
    with pytest.raises(Stopped):
        stopped.run(tmp_path / "c", "d", After(20))
    assert torch.equal(stopped.run(tmp_path / "c", "d").before("x"), half.before("x"))


def test_the_first_place_with_room_is_taken_and_where_there_is_none_each_is_named(tmp_path, monkeypatch, capsys):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, 40_000))
    assert place_of(5_000, "cpu", tmp_path / "new", memory=10_000) == "host"
    assert place_of(15_000, "cpu", tmp_path, memory=10_000) == "files"
    assert "files (room: host 0.0 GB, files 0.0 GB)" in capsys.readouterr().out
    (tmp_path / "x.0").write_bytes(bytes(60_000))  # planes of a try that was killed before its first journal
    assert place_of(45_000, "cpu", tmp_path, memory=10_000) == "files"
    with pytest.raises(BadInput, match=r"needs 50.0 GB, and there is room for: host 6.0 GB, files 0.0 GB"):
        place_of(50 * 10**9, "cpu", tmp_path, memory=10 * 10**9)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (80 * 10**9, 80 * 10**9))
    assert place_of(45 * 10**9, "cuda", tmp_path, memory=10**12) == "device"
    assert place_of(60 * 10**9, "cuda", tmp_path, memory=10**12) == "host"


def test_free_memory_is_not_more_than_the_machine_has():
    with open("/proc/meminfo") as file:
        total = int(file.readline().split()[1]) * 1024
    assert 0 < places.free_memory() < total


def test_a_state_that_cannot_be_gone_on_with_is_named(tmp_path, above):  # noqa: F811
    with pytest.raises(Stopped):
        drawing(level(), above).run(tmp_path, "digest", After(3), place="host")
    with pytest.raises(BadInput, match="begun with its state in memory; go on with as much memory as then, or delete"):
        drawing(level(), above).run(tmp_path, "digest", place="files")


@pytest.mark.parametrize("joining", ["grid-shift", "average"])
@pytest.mark.parametrize("asked", [None, "host", "device"])
def test_begun_in_files_it_goes_on_there_with_more_memory_to_the_same_pixels(
    tmp_path,
    above,  # noqa: F811
    monkeypatch,
    capsys,
    joining,
    asked,
):
    """As a job that is tried again with twice the memory, on a disk that its planes have filled."""
    joined = {"kind": joining} | ({"stride_px": 8} if joining == "average" else {})
    section = level().model_validate(level(kind="dpmpp-2m", steps=4).model_dump() | {"joining": joined})
    whole, usage = result(drawing(section, above), tmp_path / "whole"), namedtuple("usage", "total used free")
    with pytest.raises(Stopped):
        drawing(section, above).run(tmp_path / "a", "digest", After(40), memory=0)
    assert (tmp_path / "a/x.1").exists()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, 0))
    capsys.readouterr()
    found = drawing(section, above).run(tmp_path / "a", "digest", place=asked)
    assert found.state.place == "files" and np.array_equal(whole, found.before("x").numpy())
    said = capsys.readouterr().out
    assert "state: files, where it was begun" in said and "going on from pass" in said
    drawing(section, above).run(tmp_path / "a", "another digest", place="host")
    assert "state of another drawing" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("place", "how"),
    [*product(["host", "files"], ["cut", "journal", "older", "all"]), ("host", "flip")],  # in files: the next test
)
def test_a_damaged_state_falls_back_and_that_is_said(place, how, tmp_path, above, capsys):  # noqa: F811
    right = drawing(level(), above).run(tmp_path / "right", "digest", place=place).before("x").clone()
    folder = tmp_path / "state"
    for n in (3, 4):  # two checkpoints
        with pytest.raises(Stopped):
            drawing(level(), above).run(folder, "digest", After(n), place=place)
    journal, octets = folder / "journal.json", (folder / "x.0").read_bytes()
    last = folder / f"x.{json.loads(journal.read_text()).get('set', 0)}"
    if how == "flip":
        last.write_bytes(octets[:99] + bytes([last.read_bytes()[99] ^ 8]) + last.read_bytes()[100:])
    for path in {"cut": [last], "journal": [journal], "all": [last, *folder.glob("journal*")]}.get(how, []):
        path.write_bytes(path.read_bytes()[:-3])
    if how == "older":
        journal.write_text(json.dumps({"digest": "digest", "stage": 1, "batch": 0}))
    capsys.readouterr()
    assert torch.equal(drawing(level(), above).run(folder, "digest", place=place).before("x"), right)
    said = capsys.readouterr().out
    wrong = {"cut": "missing or cut off", "flip": "differs from its checksum", "older": "older version"}
    assert wrong.get(how, "damaged journal") in said
    assert ("drawn from the start" in said) == (how == "all" or (place, how) == ("files", "cut"))


def stopped_in_files(d, folder, passes):
    """Stopped in the middle of the pass after so many; the journal, and the proofs of what that pass has drawn."""
    batches = [len([t for t in one.tiles.values() if d.foreground.any(t.core)]) for one in d.schedule]
    batches = [-(-count // d.section.batch) for count in batches]
    assert batches[passes] > 2
    with pytest.raises(Stopped):
        d.run(folder, "digest", After(sum(batches[:passes]) + 1), place="files")
    journal = json.loads((folder / "journal.json").read_text())
    assert (journal["round"], journal["batch"]) == (passes, 2)
    file, (size, _) = next(iter(journal["now"].items()))
    return journal, np.frombuffer((folder / file).read_bytes()[:size], "<i8").reshape(-1, 6)


def flip(path, shape, itemsize, y, x):
    """A bit of the last channel's pixel."""
    octets = bytearray(path.read_bytes())
    octets[(((shape[0] - 1) * shape[1] + y) * shape[2] + x) * itemsize] ^= 8
    path.write_bytes(octets)


@pytest.mark.parametrize("joining", ["grid-shift", "average"])
@pytest.mark.parametrize("where", ["read", "written", "not yet written", "proofs", "proofs of before", "nowhere"])
def test_a_bit_of_a_plane_in_files_is_found(joining, where, tmp_path, above, capsys):  # noqa: F811
    """In what the pass reads: from the start. In what it has written: that pass again. In what it will write: nothing."""
    joined = {"kind": joining} | ({"stride_px": 8} if joining == "average" else {})
    values = level(kind="dpmpp-2m", steps=4).model_dump() | {"joining": joined}
    section = level().model_validate(values)
    right, folder = result(drawing(section, above), tmp_path / "right"), tmp_path / "state"
    d = drawing(section, above)
    journal, rows = stopped_in_files(d, folder, 2)
    plane = "x" if joining == "grid-shift" else "estimate.0"
    y, x = (int(rows[rows[:, 0] == (0 if plane == "x" else 2)][0][column]) for column in (1, 3))
    shape = (d.codec.channels, d.layout.height, d.layout.width)
    if where == "read":
        flip(folder / "x.0", shape, 4, y, x)
    if where == "written":
        flip(folder / f"{plane}.{1 if plane == 'x' else 0}", shape, 4, y, x)
    if where == "not yet written":
        flip(folder / "x.1", shape, 4, shape[1] - 1, shape[2] - 1)
    if where.startswith("proofs"):
        path = folder / next(iter(journal["now" if where == "proofs" else "proven"]))
        path.write_bytes(path.read_bytes()[:-1])
    capsys.readouterr()
    assert np.array_equal(result(drawing(section, above), folder, place="files"), right)
    said = capsys.readouterr().out
    assert ("differs from its checksum" in said) == (where not in ("not yet written", "nowhere"))
    assert ("drawn from the start" in said) == (where in ("read", "proofs of before"))
    assert ("pass 3 is drawn again" in said) == (where in ("written", "proofs"))
    assert ("going on from pass 2 of 4, batch 2" in said) == (where in ("not yet written", "nowhere"))
