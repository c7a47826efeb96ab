"""Several processes draw one canvas, a band each: the pixels are those of one."""

import json
import multiprocessing

import numpy as np
import pytest
import torch
import torch.distributed as dist
from test_draw import After, above, drawing, level  # noqa: F401, a fixture

from histogenesis.canvas.share import Share
from histogenesis.core.interrupt import Stopped


def section(joining):
    joined = {"kind": joining} | ({"stride_px": 8} if joining == "average" else {})
    values = level(kind="dpmpp-2m", steps=4, start={"sigma": 5}).model_dump() | {"joining": joined}
    return level().model_validate(values)


def one_of_three(joining, rank, folder, stopped):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/met{stopped}", rank=rank, world_size=3)
    seen, share = [], Share.of_this_process()
    from histogenesis.canvas.canvas import Level

    with Level(folder / "above.h5") as level_above:
        d = drawing(section(joining), level_above)
        batch = d.draw_batch
        d.draw_batch = lambda easel, one, places: (
            seen.extend((one.number, p) for p in places),
            batch(easel, one, places),
        )
        try:
            easel = d.run(folder / "state", "digest", stop=stopped and rank == 1, share=share)
            if rank == 0:
                np.save(folder / "drawn.npy", easel.before("x").numpy())
        except Stopped:
            (folder / f"stopped{rank}").touch()
    np.save(folder / f"seen{stopped}-{rank}.npy", np.array([(n, *place) for n, place in seen]))
    dist.destroy_process_group()


def draw_by_three(joining, folder, stopped):
    fork = multiprocessing.get_context("fork")
    processes = [fork.Process(target=one_of_three, args=(joining, rank, folder, stopped)) for rank in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]


@pytest.mark.parametrize("joining", ["grid-shift", "average"])
def test_three_processes_draw_the_pixels_of_one_and_stop_together(tmp_path, above, joining):  # noqa: F811
    """One is asked to stop: all do, after the pass, and go on from there. Each tile is drawn by one of them."""
    d = drawing(section(joining), above)
    wanted = d.run(tmp_path / "one", "digest").before("x").numpy()
    above.file.close()
    for stopped in (True, False):
        draw_by_three(joining, tmp_path, stopped)
        assert all((tmp_path / f"stopped{rank}").exists() for rank in range(3))
    assert np.array_equal(np.load(tmp_path / "drawn.npy"), wanted)
    first, later = (
        [[tuple(row) for row in np.load(tmp_path / f"seen{stopped}-{rank}.npy")] for rank in range(3)]
        for stopped in (True, False)
    )
    together = [one for share in first + later for one in share]
    assert all(share for share in first + later) and {number for share in first for number, *_ in share} == {0}
    assert sorted(together) == sorted((one.number, *place) for one in d.schedule for place in one.tiles)
    rows = [[y for number, y, x in share if number == 1] for share in later]
    assert max(rows[0]) <= min(rows[1]) and max(rows[1]) <= min(rows[2]), "bands"


@pytest.mark.parametrize("damaged", [False, True])
@pytest.mark.parametrize("joining", ["grid-shift", "average"])
def test_three_go_on_where_one_stopped_within_a_pass(tmp_path, above, joining, damaged, capfd):  # noqa: F811
    """They begin that pass anew, since each has a band of it; and where the planes that it reads are damaged, at the start."""
    d = drawing(section(joining), above)
    wanted = d.run(tmp_path / "one", "digest").before("x").numpy()
    count = -(-len(d.schedule[0].tiles) // d.section.batch)
    with pytest.raises(Stopped):
        d.run(tmp_path / "state", "digest", After(count + 1), place="files")
    journal = json.loads((tmp_path / "state/journal.json").read_text())
    assert (journal["round"], journal["batch"]) == (1, 2)
    if damaged:
        plane = tmp_path / "state/x.1"
        octets = plane.read_bytes()
        plane.write_bytes(octets[:999] + bytes([octets[999] ^ 1]) + octets[1000:])
    above.file.close()
    draw_by_three(joining, tmp_path, False)
    assert np.array_equal(np.load(tmp_path / "drawn.npy"), wanted)
    said = capfd.readouterr().out
    assert ("differs from its checksum" in said and "drawn from the start" in said) == damaged
    assert ("going on from pass 1 of 4, batch 0" in said) == (not damaged)
    seen = {number for rank in range(3) for number, *_ in np.load(tmp_path / f"seenFalse-{rank}.npy")}
    assert seen == ({0, 1, 2, 3} if damaged else {1, 2, 3})
