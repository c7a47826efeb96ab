"""Drawing tile by tile: whatever the order, the number of jobs and the interruptions, the same pixels, and no seam."""

import itertools
import json
import multiprocessing
import os
import time

import numpy as np
import pytest
import torch

from histogenesis.canvas.canvas import Level as LevelFile
from histogenesis.canvas.canvas import write_level
from histogenesis.canvas.conditioning_crop import ConditioningCrop
from histogenesis.canvas.engine import Drawing
from histogenesis.canvas.queue import Queue
from histogenesis.canvas.task import Bundle
from histogenesis.canvas.tilewise import TileFiles
from histogenesis.canvas.wavefronts import neighbours, wavefronts
from histogenesis.core.errors import BadInput
from histogenesis.core.interrupt import Stopped
from histogenesis.models.model import Normalisation
from histogenesis.models.schedules import schedule_sigmas
from histogenesis.recipe import Level

NORMALISATION = Normalisation([128.0, 128.0, 128.0], 40.0, 0.5)
LEARNED = schedule_sigmas("cosine", 50)


def wiener(x, sigma, mpp, **cond):
    """The perfect denoiser of white Gaussian data with standard deviation 0.5."""
    return x * 0.25 / (0.25 + sigma[:, None, None, None] ** 2)


def windowed(x, sigma, mpp, **cond):
    """A denoiser that depends on all that a network is given: what tiles see matters."""
    extra = sum(0.2 * value.float().mean(dim=tuple(range(1, value.ndim)), keepdim=True) for value in cond.values())
    extra = extra.reshape(-1, 1, 1, 1) if isinstance(extra, torch.Tensor) else extra
    return wiener(x, sigma, mpp) + 0.1 * torch.tanh(x.mean(dim=(2, 3), keepdim=True)) + extra


def level(order="raster", resample=1, batch=3, sampler="ddpm", **values):
    joining = {"kind": "inpaint", "stride_px": 12, "order": order, "resample": resample}
    options = {"mpp": 4, "model": "m", "tile_px": 16, "batch": batch, "joining": joining}
    return Level.model_validate(options | {"sampler": {"kind": sampler, "steps": 6}} | values)


def bundle(denoise=windowed, conditions=(), normalisation=NORMALISATION):
    return Bundle(denoise, normalisation, list(conditions), LEARNED)


def drawing(section, size=(40, 40), above=None, bundles=None, **kwargs):
    values = {"seed": 1, "slide": "s", "k": 1, "bundles": bundles or [bundle()], "above": above, **kwargs}
    return Drawing(section, size, **values)


def draw_places(d, folder, places):
    """One batch, as a round of the drawing would draw it."""
    easel = TileFiles(d, folder)
    d.draw_batch(easel, d.schedule[easel.wavefront_of[places[0]]], places)


def pixels(d, folder):
    return np.concatenate([rows for _, rows in d.bands(d.run(folder))])


@pytest.fixture
def above(tmp_path):
    rows = np.random.default_rng(0).integers(90, 170, (20, 20, 3), dtype=np.uint8)
    write_level(tmp_path / "above.h5", [(0, rows)], 20, 20, {"mpp": 8.0})
    return LevelFile(tmp_path / "above.h5")


@pytest.mark.parametrize("order", ["raster", "checkerboard"])
def test_a_perfect_denoiser_leaves_no_seam(tmp_path, order):
    """White noise has nothing to agree on, so the canvas is as if it were drawn at once, pixel by pixel."""
    d = drawing(level(order, sampler="ddim"), bundles=[bundle(wiener)])
    found = pixels(d, tmp_path / "a")
    from histogenesis.core.field import NoiseField

    alone = NoiseField(1, "s", "m", 1).window(0, 0, 40, 40)[None] * d.evaluations[0][0].sigma
    for evaluation in d.evaluations[0]:
        alone, _ = evaluation.update(alone, wiener(alone, torch.tensor([evaluation.sigma]), None), None)
    whole = NORMALISATION.to_uint8(alone)[0].numpy().transpose(1, 2, 0)
    assert np.abs(found.astype(int) - whole).max() <= 1


@pytest.mark.parametrize("order", ["raster", "checkerboard"])
def test_every_order_gives_the_same_pixels_or_says_that_a_tile_is_not_finished(tmp_path, order):
    """All 24 orders of 2 x 2 tiles, and some of 3 x 3: nobody ever reads an unfinished tile."""
    first = pixels(drawing(level(order), (28, 28)), tmp_path / "first")
    right = 0
    for number, places in enumerate(itertools.permutations(itertools.product(range(2), range(2)))):
        d = drawing(level(order), (28, 28))
        folder = tmp_path / str(number)
        wavefront_of = TileFiles(d, folder).wavefront_of
        allowed = [wavefront_of[place] for place in places] == sorted(wavefront_of[place] for place in places)
        try:
            for place in places:
                draw_places(d, folder, [place])
        except LookupError as error:
            assert "not finished" in str(error) and not allowed
            continue
        right += 1
        assert np.array_equal(first, pixels(d, folder))
    assert right >= (2 if order == "raster" else 1)
    whole = pixels(drawing(level(order)), tmp_path / "whole")
    rng = np.random.default_rng(1)
    for number in range(6):
        d = drawing(level(order))
        for wavefront in range(len(d.schedule)):
            d.schedule.wavefronts[wavefront] = dict(
                sorted(d.schedule.wavefronts[wavefront].items(), key=lambda _: rng.random())
            )
        assert np.array_equal(whole, pixels(d, tmp_path / f"shuffled{number}"))


def draws(section, folder, name, dies_after=None):
    """In a process of its own: draw from the queue, write down which tiles; end at once after some, as a killed one does."""
    torch.set_num_threads(1)
    d, drawn = drawing(section, (64, 64)), []
    batch = d.draw_batch

    def slowly(easel, one, places):
        if dies_after is not None and len(drawn) >= dies_after:
            os._exit(9)
        batch(easel, one, places)
        time.sleep(0.02)
        drawn.extend(places)

    d.draw_batch = slowly
    d.run(folder)
    (folder / name).write_text(json.dumps(drawn))


@pytest.mark.parametrize("order", ["raster", "checkerboard"])
def test_several_processes_draw_each_tile_once_and_the_same_pixels(tmp_path, order):
    """One is killed with tiles in hand; two others, at the same time, draw those and all that is left."""
    section = level(order, resample=2)
    one, d = pixels(drawing(section, (64, 64)), tmp_path / "one"), drawing(section, (64, 64))
    fork = multiprocessing.get_context("fork")
    killed = fork.Process(target=draws, args=(section, tmp_path / "three", "c", 3))
    others = [fork.Process(target=draws, args=(section, tmp_path / "three", name)) for name in "ab"]
    for together in ([killed], others):
        for process in together:
            process.start()
        for process in together:
            process.join(60)
    assert [process.exitcode for process in (killed, *others)] == [9, 0, 0]
    drawn = [tuple(place) for name in "ab" for place in json.loads((tmp_path / "three" / name).read_text())]
    assert len(drawn) == len(set(drawn)) and len(d.schedule.wavefronts) > 3
    assert sum(map(len, d.schedule.wavefronts)) - 6 <= len(drawn) < sum(map(len, d.schedule.wavefronts))
    d.draw_batch = lambda *args: pytest.fail("nothing is left to draw")
    assert np.array_equal(one, pixels(d, tmp_path / "three"))


def test_a_tile_is_handed_out_when_what_it_holds_is_finished_and_batches_are_full(tmp_path):
    """The paper's finest level, 46 x 46 tiles in batches of 4: wave by wave to four jobs, a quarter of the work is padding."""
    tiles, size, processes = wavefronts(41344, 41344, 1024, 896, "raster"), 4, 4
    wavefront_of = {place: n for n, wavefront in enumerate(tiles) for place in wavefront}
    shares = [len(range(job, len(wavefront), processes)) for wavefront in tiles for job in range(processes)]
    by_wave = sum(-(-share // size) * size for share in shares) / len(wavefront_of) - 1
    finished, batches = set(), 0
    queue = Queue(tiles, lambda tile: (tile.y // 896, tile.x // 896) in finished, tmp_path / "queue")
    while queue:
        hands = [queue.claim(size) for _ in range(processes)]
        for place in itertools.chain(*hands):
            before = [other for other in neighbours(place) if wavefront_of.get(other, 99) < wavefront_of[place]]
            assert place not in finished and finished.issuperset(before)
        for places in hands:
            queue.done(places)
            finished.update(places)
            batches += bool(places)
    assert len(finished) == 46 * 46
    assert by_wave > 0.25 and batches * size / len(wavefront_of) - 1 < 0.1


def test_a_killed_or_stopped_drawing_draws_only_its_unfinished_tiles(tmp_path, monkeypatch):
    whole = pixels(drawing(level(batch=2)), tmp_path / "whole")
    save, count = TileFiles.save, []

    def dies(easel, tile, core):
        if len(count) == 4:
            (easel.folder / "000000-000000.part99").write_bytes(b"half")
            raise KeyboardInterrupt
        count.append(tile)
        save(easel, tile, core)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(TileFiles, "save", dies)
        drawing(level(batch=2)).run(tmp_path / "pieces")
    rounds = 0
    while True:
        d, rounds = drawing(level(batch=2)), rounds + 1
        before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "pieces").glob("*.npy")}
        try:
            d.run(tmp_path / "pieces", stop=True)
            break
        except Stopped:
            after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "pieces").glob("*.npy")}
            assert len(after) > len(before) and all(after[name] == time for name, time in before.items())
    assert rounds > 2
    assert np.array_equal(whole, pixels(drawing(level(batch=2)), tmp_path / "pieces"))


def test_another_batch_shape_or_place_changes_nothing(tmp_path):
    a = pixels(drawing(level(batch=1)), tmp_path / "a")
    assert np.abs(a.astype(int) - pixels(drawing(level(batch=5)), tmp_path / "b")).max() <= 1


@pytest.mark.parametrize("how", ["cut off", "flipped"])
def test_a_damaged_tile_is_named_and_drawn_again(how, tmp_path, capsys):
    d, path = drawing(level()), tmp_path / "000012-000012.npy"
    easel = d.run(tmp_path)
    right, octets = np.concatenate([rows for _, rows in d.bands(easel)]), bytearray(path.read_bytes())
    octets[len(octets) // 2] ^= 1
    damaged = octets if how == "flipped" else octets[:-7]
    path.write_bytes(damaged)
    with pytest.raises(BadInput, match=r"000012-000012.npy: damaged tile, which is removed"):
        list(d.bands(easel))
    path.write_bytes(damaged)
    d = drawing(level())
    again = np.concatenate([rows for _, rows in d.bands(d.run(tmp_path))])
    assert np.array_equal(again, right) and "000012-000012.npy: damaged tile, drawn again" in capsys.readouterr().out


def test_each_network_of_a_cascade_sees_the_one_before_the_context_and_what_is_held(tmp_path, above):
    asked = {}

    def spy(name):
        def denoise(x, sigma, mpp, **cond):
            first = asked.setdefault(name, {"mpp": float(mpp[0]), "px": x.shape[-1], "cond": cond, "x": []})
            first["x"].append((float(sigma[0]), x.clone()))
            return windowed(x, sigma, mpp, **cond)

        return denoise

    section = level(
        sampler="ddim",
        batch=1,
        cascade=[
            {"model": "s", "tile_px": 4, "sampler": {"steps": 3}},
            {"model": "n", "tile_px": 8, "sampler": {"steps": 3}},
        ],
        constraint={"kind": "context"},
        lowres_noise=0.0,
    )
    bundles = [
        bundle(spy("s"), ["context"]),
        bundle(spy("n"), ["lowres", "context"], Normalisation.unit()),
        bundle(spy("m"), ["context", "lowres"]),
    ]
    d = drawing(section, above=above, bundles=bundles)
    d.run(tmp_path / "a")
    assert [(asked[n]["mpp"], asked[n]["px"]) for n in "snm"] == [(16, 4), (8, 8), (4, 16)]
    tile = d.schedule[0].tiles[0, 0]
    wide = d.crop.context(tile)
    for name, normalisation in (("s", NORMALISATION), ("n", Normalisation.unit()), ("m", NORMALISATION)):
        cond_image = asked[name]["cond"]["cond_image_bchw"][0]
        px = asked[name]["px"]
        assert cond_image.shape[0] == (3 if name == "s" else 6)
        pooled = wide.numpy().reshape(3, px, 16 // px, px, 16 // px).mean(axis=(2, 4))
        assert np.allclose(normalisation.decode(cond_image[-3:]).numpy(), pooled, atol=0.1), "the context comes last"
    asked.clear()
    (tmp_path / "a/000000-000012.npy").unlink()
    draw_places(d, tmp_path / "a", [(0, 1)])  # it shares 4 px with the first tile: 1 px and 2 px of the smaller
    known, mask = TileFiles(d, tmp_path / "a").known_region((0, 1))
    assert mask[:, :4].all() and not mask[:, 4:].any()
    sigma, x = asked["s"]["x"][-1]
    block = NORMALISATION.encode(torch.from_numpy(known[:4, :4].mean(axis=(0, 1))).reshape(3, 1, 1)).flatten()
    assert torch.allclose(x[0, :, 0, 0], block, atol=5 * sigma), "held in small, too"


def test_white_tiles_are_the_level_above_enlarged_and_cost_nothing(tmp_path):
    rows = np.random.default_rng(0).integers(90, 170, (20, 20, 3), dtype=np.uint8)
    rows[:, 8:] = np.random.default_rng(1).integers(235, 250, (20, 12, 3), dtype=np.uint8)
    write_level(tmp_path / "above.h5", [(0, rows)], 20, 20, {"mpp": 8.0})
    above = LevelFile(tmp_path / "above.h5")
    asked = []

    def counting(x, sigma, mpp, **cond):
        asked.append(len(x))
        return windowed(x, sigma, mpp, **cond)

    d = drawing(level(batch=1, skip_background={"share": 0.5, "above": 220}), above=above, bundles=[bundle(counting)])
    found = pixels(d, tmp_path / "a")
    assert len(asked) == 6 * 3, "of 3 x 3 tiles only the left column is drawn"  # tiles at 12 and 24 are mostly white
    enlarged = ConditioningCrop(above, (2.0, 2.0), (255, 255, 255)).interpolate(slice(0, 40), slice(0, 40))
    assert np.array_equal(found[:, 16:], enlarged.permute(1, 2, 0).numpy()[:, 16:])
    plain = pixels(drawing(level(batch=1), above=above), tmp_path / "b")
    assert not np.array_equal(plain[:, 16:], found[:, 16:])


def test_a_drawn_tile_holds_its_white_neighbours_even_of_later_waves(tmp_path):
    rows = np.full((20, 20, 3), 240, np.uint8)
    rows[7:13, 7:13] = 100  # the middle tile alone is not white
    write_level(tmp_path / "above.h5", [(0, rows)], 20, 20, {"mpp": 8.0})
    d = drawing(level(skip_background={"share": 0.5, "above": 220}), above=LevelFile(tmp_path / "above.h5"))
    easel = TileFiles(d, tmp_path)
    known, mask = easel.known_region((1, 1))
    tiles = {place: tile for one in d.schedule for place, tile in one.tiles.items()}
    assert [place for place, tile in tiles.items() if easel.filled(tile) is None] == [(1, 1)]
    assert mask[:4].all() and mask[:, :4].all() and not mask[4:, 4:].any(), "its core is its own"
    found = pixels(d, tmp_path / "a")
    assert np.array_equal(found[12:28, 12:28][mask], known[mask])


def test_background_is_held_and_only_tissue_is_drawn(tmp_path):
    plan = np.zeros((20, 20), bool)
    plan[2:7, 2:7] = True
    asked = []

    def counting(x, sigma, mpp, **cond):
        asked.append(x.clone())
        return windowed(x, sigma, mpp, **cond)

    d = drawing(level(batch=1), plan=plan, background=(240, 238, 241), bundles=[bundle(counting)])
    found = pixels(d, tmp_path)
    drawn = plan.repeat(2, 0).repeat(2, 1)
    assert np.all(found[~drawn] == (240, 238, 241)) and found[drawn].std() > 5
    assert len(asked) == 6, "one tile has all the tissue that it decides"
    background = NORMALISATION.encode(torch.tensor([240, 238, 241]).reshape(3, 1, 1))[:, 0, 0]
    last = asked[-1][0, :, 15, 15]
    assert torch.allclose(last, background, atol=0.5), "the network sees the background there"


@pytest.mark.parametrize("order", ["raster", "checkerboard"])
def test_the_null_space_holds_within_inpainted_tiles(tmp_path, above, order):
    """Constraint and joining are independent choices: each tile averages back to the level above where it decides."""
    section = level(order, constraint={"kind": "null-space"})
    found = pixels(drawing(section, above=above), tmp_path / "a").astype(float)
    back = found.reshape(20, 2, 20, 2, 3).mean(axis=(1, 3))
    inside = ((found > 0) & (found < 255)).reshape(20, 2, 20, 2, 3).all(axis=(1, 3))
    assert inside.mean() > 0.5
    assert np.abs(back - above.image[:])[inside].max() <= 0.5


def test_tiles_may_start_from_the_level_above_enlarged_and_noised(tmp_path, above):
    asked = []

    def spy(x, sigma, mpp, **cond):
        asked.append((float(sigma[0]), x.clone()))
        return wiener(x, sigma, mpp)

    section = level(batch=1, sampler="dpmpp-2m", start={"sigma": 1.5})
    d = drawing(section, above=above, bundles=[bundle(spy)])
    d.run(tmp_path)
    from histogenesis.core.field import NoiseField

    first = asked[0]
    y = NORMALISATION.encode(torch.from_numpy(above.image[:8, :8].transpose(2, 0, 1).repeat(2, 1).repeat(2, 2)))
    noise = NoiseField(1, "s", "m", 1).window(0, 0, 16, 16)
    assert first[0] == pytest.approx(max(sigma for sigma in LEARNED if sigma <= 1.5)), (
        "the model's own, at most as high"
    )
    assert torch.allclose(first[1][0], y + first[0] * noise, atol=1e-5)


def test_a_cascade_in_independent_tiles(tmp_path):
    section = level(cascade=[{"model": "s", "tile_px": 4, "sampler": {"steps": 3}}], joining={"kind": "independent"})
    d = drawing(section, (20, 36), bundles=[bundle(), bundle(conditions=["lowres"])])
    assert len(d.schedule) == 1 and len(d.schedule[0].tiles) == 6
    assert pixels(d, tmp_path).shape == (20, 36, 3)


def test_the_level_is_written_as_any_other(tmp_path):
    d = drawing(level())
    easel = d.run(tmp_path / "tiles")
    d.finish(easel, tmp_path / "level1.h5", note="n")
    with LevelFile(tmp_path / "level1.h5") as written:
        assert np.array_equal(written.image[:], np.concatenate([rows for _, rows in d.bands(easel)]))
        assert written.mpp == 4 and written.attributes["model"] == "m" and bool(written.attributes["synthetic"])
