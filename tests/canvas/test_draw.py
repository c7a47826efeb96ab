"""Drawing step by step: the constraint holds, order and interruption change nothing, a perfect denoiser leaves no seam."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from histogenesis.canvas.averaging import downsample
from histogenesis.canvas.canvas import Level as LevelFile
from histogenesis.canvas.canvas import write_level
from histogenesis.canvas.engine import Drawing
from histogenesis.canvas.task import Bundle
from histogenesis.core.errors import BadInput
from histogenesis.core.field import NoiseField
from histogenesis.core.interrupt import Stopped
from histogenesis.models.model import Denoiser, Normalisation
from histogenesis.recipe import Level, NoConstraint, NullSpace, Relaxation, Sampler

NORMALISATION = Normalisation([128.0, 128.0, 128.0], 40.0, 0.5)


def wiener(x, sigma, mpp):
    """The perfect denoiser of white Gaussian data with standard deviation 0.5."""
    return x * 0.25 / (0.25 + sigma[:, None, None, None] ** 2)


def windowed(x, sigma, mpp):
    """A denoiser that depends on the whole window, as a network does: what tiles see matters."""
    return wiener(x, sigma, mpp) + 0.1 * torch.tanh(x.mean(dim=(2, 3), keepdim=True))


def level(steps=6, kind="heun", r=0, joining="grid-shift", batch=3, null_space=True, **more):
    return Level.model_validate(
        {
            **more,
            "mpp": 4,
            "size_px": (64, 96),
            "model": "m",
            "tile_px": 16,
            "batch": batch,
            "constraint": NullSpace(relaxation=Relaxation(steps=r)) if null_space else NoConstraint(),
            "joining": {"kind": joining},
            "sampler": Sampler(kind=kind, steps=steps).model_dump(),
        }
    )


@pytest.fixture
def above(tmp_path):
    rows = np.random.default_rng(0).integers(90, 170, (32, 48, 3), dtype=np.uint8)
    write_level(tmp_path / "above.h5", [(0, rows)], 32, 48, {"mpp": 8.0})
    return LevelFile(tmp_path / "above.h5")


def drawing(section, above=None, **kwargs):
    values = {"plan": None, "seed": 1, "slide": "s", "k": 1, **kwargs}
    known = {"conditions": values.pop("conditions", ())}
    bundle = Bundle(values.pop("denoise", windowed), NORMALISATION, **known)
    return Drawing(section, (64, 96), bundles=[bundle], above=above, **values)


class After:
    """A stop request that comes true at the n-th time it is asked."""

    def __init__(self, n):
        self.left = n

    def __bool__(self):
        self.left -= 1
        return self.left < 0


class Shuffled:
    """A plan whose tiles come in another order, the same one whenever a round is asked for."""

    def __init__(self, plan):
        self.plan, self.tile_by_tile = plan, plan.tile_by_tile

    def __len__(self):
        return len(self.plan)

    def __getitem__(self, number):
        one = self.plan[number]
        tiles = list(one.tiles.items())
        return replace(one, tiles=dict(tiles[i] for i in np.random.default_rng([3, number]).permutation(len(tiles))))


def pixels(d, folder, **kwargs):
    return d.run(folder, "digest", **kwargs).before("x").float().numpy().copy()


@pytest.mark.parametrize("kind", ["heun", "dpmpp-2m", "euler"])
def test_without_relaxation_the_level_averages_back_to_the_one_above(tmp_path, above, kind):
    d = drawing(level(kind=kind), above)
    planes = d.run(tmp_path / "state", "digest")
    x = planes.before("x")
    back = downsample(NORMALISATION.decode(x)[None], 2)[0].permute(1, 2, 0).numpy()
    assert np.abs(back - above.image[:]).max() < 1e-3, "before rounding and clipping"
    d.finish(planes, tmp_path / "level1.h5")
    drawn = LevelFile(tmp_path / "level1.h5").image[:].astype(float)
    inside = (drawn > 0) & (drawn < 255)
    inside = inside.reshape(32, 2, 48, 2, 3).all(axis=(1, 3))
    back = drawn.reshape(32, 2, 48, 2, 3).mean(axis=(1, 3))
    assert inside.mean() > 0.7
    assert np.abs(back - above.image[:])[inside].max() <= 0.5, "uint8 rounding alone"


def test_a_model_that_is_shown_the_level_above_may_be_held_to_it_too(tmp_path, above):
    """What it draws follows what it is shown, and averages back to the level above; with `lowres` alone it does not."""
    shown = []

    def enlarging(x, sigma, mpp, cond_image_bchw, **told):
        shown.append(float(cond_image_bchw.std()))
        return 0.5 * wiener(x, sigma, mpp) + 0.5 * cond_image_bchw

    worst = {}
    for kind in ("lowres-null-space", "lowres"):
        section = Level.model_validate(level(lowres_noise=0.02).model_dump() | {"constraint": {"kind": kind}})
        d = drawing(section, above, denoise=enlarging, conditions=("lowres",))
        x = torch.from_numpy(pixels(d, tmp_path / kind))
        back = downsample(NORMALISATION.decode(x)[None], 2)[0].permute(1, 2, 0).numpy()
        worst[kind] = np.abs(back - above.image[:]).max()
    assert min(shown) > 0.1
    assert worst["lowres-null-space"] < 1e-3 and worst["lowres"] > 5


def test_with_relaxation_it_may_not(tmp_path, above):
    x = torch.from_numpy(pixels(drawing(level(r=3), above), tmp_path / "a"))
    back = downsample(NORMALISATION.decode(x)[None], 2)[0].permute(1, 2, 0).numpy()
    assert np.abs(back - above.image[:]).max() > 1


def test_the_order_of_tiles_and_their_place_in_a_batch_change_nothing(tmp_path, above):
    network = tiny_network()
    first = pixels(drawing(level(), above, denoise=network), tmp_path / "a")
    shuffled = drawing(level(), above, denoise=network)
    shuffled.schedule = Shuffled(shuffled.schedule)
    assert np.array_equal(first, pixels(shuffled, tmp_path / "b"))


def test_another_batch_shape_agrees_to_rounding(tmp_path, above):
    network = tiny_network()
    a = pixels(drawing(level(batch=3), above, denoise=network), tmp_path / "a")
    b = pixels(drawing(level(batch=8), above, denoise=network), tmp_path / "b")
    assert np.abs(a - b).max() < 1e-4


def test_another_seed_slide_or_level_is_another_picture(tmp_path, above):
    base = pixels(drawing(level(), above), tmp_path / "a")
    for n, other in enumerate([{"seed": 2}, {"slide": "t"}, {"k": 2}]):
        assert not np.allclose(base, pixels(drawing(level(), above, **other), tmp_path / str(n)), atol=1e-3)


@pytest.mark.parametrize("joining", ["grid-shift", "average"])
def test_a_level_may_start_from_the_one_above_enlarged_and_noised(tmp_path, above, joining):
    """The first evaluation sees A+ y + s n, at s; elsewhere background; and the sampler's steps run from s down."""
    asked = []

    def spy(x, sigma, mpp):
        asked.append((float(sigma[0]), x.clone()))
        return windowed(x, sigma, mpp)

    plan = np.zeros((32, 48), bool)
    plan[:16] = True
    options = {"start": {"sigma": 2}, "joining": joining, "batch": 1, "kind": "dpmpp-2m", "steps": 5}
    section = level(**options | ({"joining": "grid-shift"} if joining == "average" else {}))
    if joining == "average":
        section = Level.model_validate(section.model_dump() | {"joining": {"kind": "average", "stride_px": 8}})
    d = drawing(section, above, denoise=spy, plan=plan, background=(240, 238, 241))
    easel = d.run(tmp_path / "a", "digest")
    assert d.step_sigmas[0][0] == pytest.approx(2) and len(d.step_sigmas[0]) == 6
    enlarged = NORMALISATION.encode(torch.from_numpy(above.image[:].transpose(2, 0, 1).repeat(2, 1).repeat(2, 2)))
    ground = torch.where(torch.from_numpy(plan.repeat(2, 0).repeat(2, 1)), enlarged, easel.background)
    canvas = ground + 2 * NoiseField(1, "s", "m", 1).window(0, 0, 64, 96)
    first = [x for sigma, x in asked if sigma > 1.99]
    for tile, x in zip([t for t in d.schedule[0].tiles.values() if d.foreground.any(t.core)], first, strict=True):
        assert torch.allclose(x[0], canvas[(slice(None), *tile.window)], atol=1e-6)


@pytest.mark.parametrize(
    "constraint,bilinear", [("lowres", True), ("lowres-null-space", True), ("null-space", False), ("none", False)]
)
def test_what_is_shown_the_level_above_starts_from_it_without_squares(above, constraint, bilinear):
    """Bilinear by PyTorch, to a grey step (it is rounded); else each pixel repeated."""
    section = Level.model_validate(level(start={"sigma": 1}).model_dump() | {"constraint": {"kind": constraint}})
    found = drawing(section, above).beginning(slice(10, 42), slice(7, 39)).permute(1, 2, 0).numpy().astype(float)
    small = torch.from_numpy(above.image[:]).permute(2, 0, 1)[None].float()
    mode = {"mode": "bilinear", "align_corners": False} if bilinear else {"mode": "nearest"}
    wanted = torch.nn.functional.interpolate(small, scale_factor=2, **mode)[0, :, 10:42, 7:39].permute(1, 2, 0).numpy()
    assert np.abs(found - wanted).max() <= (0.5 + 1e-3 if bilinear else 0)


def test_a_level_that_starts_from_the_one_above_follows_it_without_a_constraint(tmp_path, above):
    """A perfect denoiser of white data, sigma_data 0.5: what is kept of a start at s is 1 / (1 + s^2 / 0.25)^(1/2)."""
    section = level(steps=60, null_space=False, start={"sigma": 1})
    x = pixels(drawing(section, above, denoise=wiener), tmp_path / "a")
    y = NORMALISATION.encode(torch.from_numpy(above.image[:].transpose(2, 0, 1).repeat(2, 1).repeat(2, 2))).numpy()
    slope = (x * y).sum() / (y * y).sum()
    assert slope == pytest.approx(1 / np.sqrt(5), abs=0.02)


@pytest.mark.parametrize("kind", ["heun", "dpmpp-2m"])
def test_a_stopped_drawing_goes_on_within_the_level_to_the_same_pixels(tmp_path, above, kind):
    whole = pixels(drawing(level(kind=kind), above), tmp_path / "whole")

    for _ in range(200):
        try:
            planes = drawing(level(kind=kind), above).run(tmp_path / "pieces", "digest", After(9))
            break
        except Stopped:
            continue
    assert np.array_equal(whole, planes.before("x").numpy())


def test_a_killed_drawing_goes_on_from_its_journal_even_if_later_tiles_were_half_written(tmp_path, above):
    whole = pixels(drawing(level(), above), tmp_path / "whole")

    class Killed(Exception):
        pass

    d = drawing(level(), above)
    draw_batch, left = d.draw_batch, [50]

    def dies(easel, one, places):
        left[0] -= 1
        if left[0] == 0:
            easel.state.after("x")[:] = np.nan  # whatever had been written after the last journal entry is lost
            raise Killed
        draw_batch(easel, one, places)

    d.draw_batch = dies
    with pytest.raises(Killed):
        d.run(tmp_path / "state", "digest", save_every_s=1e9)
    assert np.array_equal(whole, pixels(drawing(level(), above), tmp_path / "state"))


def test_a_perfect_denoiser_leaves_no_seam(tmp_path):
    """With a denoiser that knows the answer at every pixel, tiles must not show at all."""
    d = drawing(level(null_space=False), None, denoise=wiener)
    x = pixels(d, tmp_path / "a")
    alone = NoiseField(1, "s", "m", 1).window(0, 0, 64, 96)[None] * d.evaluations[0][0].sigma
    history = None
    for evaluation in d.evaluations[0]:
        alone, history = evaluation.update(alone, wiener(alone, torch.tensor([evaluation.sigma]), None), history)
    assert np.abs(x - alone[0].numpy()).max() < 1e-5


def test_grid_shift_hides_the_tile_lines_that_independent_tiles_show(tmp_path):
    """A denoiser whose estimate jumps at its window's border: independent tiles keep the jump, shifted ones spread it."""

    def tilted(x, sigma, mpp):
        ramp = torch.linspace(-0.5, 0.5, x.shape[-1])
        return wiener(x, sigma, mpp) + ramp

    def jump(joining):
        section = level(steps=24, joining=joining, null_space=False)
        x = pixels(drawing(section, None, denoise=tilted), tmp_path / joining)
        gradient = np.abs(np.diff(x, axis=2)).mean(axis=(0, 1))
        lines = gradient[15::16].mean()
        return lines / np.delete(gradient, np.arange(15, 95, 16)).mean()

    assert jump("independent") > 1.3
    assert jump("grid-shift") < 1.1


def test_background_is_filled_and_only_tissue_is_drawn(tmp_path, above):
    plan = np.zeros((32, 48), bool)
    plan[4:12, 10:20] = True
    asked = []

    def counting(x, sigma, mpp):
        asked.append(len(x))
        return wiener(x, sigma, mpp)

    d = drawing(level(), above, denoise=counting, plan=plan, background=(240, 238, 241))
    d.finish(d.run(tmp_path / "state", "digest"), tmp_path / "level.h5")
    image = LevelFile(tmp_path / "level.h5").image[:]
    drawn = np.repeat(np.repeat(plan, 2, 0), 2, 1)
    assert np.all(image[~drawn] == (240, 238, 241))
    assert image[drawn].std() > 5
    everywhere = len(d.evaluations[0]) * 4 * 6
    assert sum(asked) < 0.6 * everywhere, "tiles without tissue are not evaluated"


def test_a_slide_without_tissue_is_all_background(tmp_path, above):
    d = drawing(level(), above, plan=np.zeros((32, 48), bool), background=(240, 240, 240))
    d.finish(d.run(tmp_path / "state", "digest"), tmp_path / "level.h5")
    assert np.all(LevelFile(tmp_path / "level.h5").image[:] == 240)


def test_bad_states_are_named_and_drawn_anew(tmp_path, above, capsys):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(BadInput, match="cannot be used"):
        drawing(level(), above).run(tmp_path / "file", "digest")
    folder = tmp_path / "state"
    right = drawing(level(), above).run(folder, "digest").before("x").clone()
    again = drawing(level(), above).run(folder, "another digest").before("x")
    said = capsys.readouterr().out
    assert torch.equal(again, right) and "the state of another drawing" in said and "from the start" in said
    for journal in folder.glob("journal.json*"):
        journal.write_text("{")
    assert torch.equal(drawing(level(), above).run(folder, "another digest").before("x"), right)
    assert "damaged journal" in capsys.readouterr().out


def test_a_full_disk_is_named_before_drawing_starts(tmp_path, above, monkeypatch):
    import errno
    import os

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(BadInput, match=r"No space left on device; drawing this level needs 0\.00 GB"):
        drawing(level(), above).run(tmp_path / "state", "digest", place="files")
    assert not list((tmp_path / "state").glob("x.*"))


def tiny_network():
    from histogenesis.recipe import Model, Network, Training

    network = Network(channels=8, multipliers=[1, 2], blocks=1, attention_px=[8], heads=1, dropout=0.0)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    denoiser = Denoiser(Model(patches="p", network=network, training=Training(steps=1)), 16, NORMALISATION)
    with torch.no_grad():  # an untrained output layer gives almost nothing; make tiles matter
        denoiser.network.last.weight.normal_(0, 0.05)
    return denoiser.eval()


def test_a_level_is_the_same_bytes_whenever_it_is_written(tmp_path):
    import time

    rows = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    for name in ("a", "b"):
        write_level(tmp_path / f"{name}.h5", [(0, rows)], 40, 60, {"mpp": 1.0, "slide": "x"})
        time.sleep(1.1)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
