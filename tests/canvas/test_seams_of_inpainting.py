"""How a recipe's own sampler and r leave the lines between tiles, with a denoiser that is exact (benchmarks/seams.py)."""

import runpy

import pytest
import torch
from PIL import Image

from histogenesis.canvas.joinings.inpaint import Inpaint
from histogenesis.core.sigmas import evaluations
from histogenesis.metrics.coherence.seams import tile_lines
from histogenesis.recipe import load_recipe


@pytest.fixture(scope="module")
def bench(root):
    return runpy.run_path(str(root / "benchmarks/seams.py"))


@pytest.fixture(scope="module")
def exact(bench):
    return bench["exact"]()


def seam(bench, by, folder, sampler, resample, side=3):
    way = bench["inpaint"](resample, **sampler)
    found = []
    for seed in (1, 2):
        canvas, _ = bench["drawn"](by, way, folder / str(resample), seed, side)
        lines = tile_lines(canvas.shape[1], bench["TILE"], bench["STRIDE"], "raster")
        found.append(bench["measured"](canvas, by, lines)[:2])
    return [sum(part) / len(found) for part in zip(*found)]


def test_our_recipe_s_tiles_meet_at_less_than_the_paper_s_cost(root, bench, exact, tmp_path):
    """Its r and sampler leave hardly a seam; the same without taking steps again leave one that anybody sees."""
    ours, published = (
        load_recipe(root / f"config/{name}.yaml").synthetic.levels[-1] for name in ("urcdm", "published/urcdm")
    )
    sampler = {"kind": ours.sampler.kind, "steps": ours.sampler.steps}
    across, elsewhere = seam(bench, exact, tmp_path, sampler, ours.joining.resample)
    assert across < 1.25 and 0.7 < elsewhere < 1.1, (across, elsewhere)
    once, _ = seam(bench, exact, tmp_path, sampler, 1)
    assert once > 1.5, once
    cost, theirs = (evaluations(s.sampler.kind, s.sampler.steps, s.joining.resample) for s in (ours, published))
    assert cost < theirs / 5


def test_who_says_no_r_has_the_measured_one(root, bench):
    """That which leaves the least seam in the page's table of those with 25 steps of the second order."""
    rows = bench["table_of"]((root / "docs/measurements/seams.md").read_text())
    measured = {row["way"]: row["seam"] for row in rows if row["way"].startswith("dpmpp-2m 25, r = ")}
    assert min(measured, key=measured.get) == f"dpmpp-2m 25, r = {Inpaint(stride_px=28).resample}"
    assert (
        load_recipe(root / "config/urcdm.yaml").synthetic.levels[-1].joining.resample == Inpaint(stride_px=28).resample
    )


def test_the_page_s_table_is_what_the_benchmark_draws(root, bench, tmp_path):
    """Each row that is not of a trial is a way of the benchmark's; and the curve is drawn of that table."""
    page = root / "docs/measurements/seams.md"
    rows = bench["table_of"](page.read_text())
    ways = {row["way"] for row in rows if not row["tried"]}
    assert ways <= set(bench["ways"]()) and {"dpmpp-2m 25, r = 10", "dpmpp-2m 25, `average`"} <= ways
    assert sum(row["tried"] for row in rows) == 5
    assert {"way": "ddpm 256, r = 4", "tried": False, "evaluations": 1021, "seam": 1.13, "contrast": 0.78} in rows
    for row in rows:
        if not row["tried"] and "r = " in row["way"]:
            kind, steps, r = row["way"].replace(", r =", "").split()
            assert row["evaluations"] == evaluations(kind, int(steps), int(r))
    bench["draw_curve"](rows, tmp_path / "curve.png")
    drawn, kept = (Image.open(path) for path in (tmp_path / "curve.png", page.with_suffix(".png")))
    assert drawn.size == kept.size and page.with_suffix(".png").stat().st_size < 150_000


def test_the_field_s_windows_are_denoised_exactly(bench):
    """No other linear filter comes closer to windows of it than its own, and its jump is what its pictures have."""
    field = bench["field_of_skin"]()
    generator = torch.Generator().manual_seed(3)
    white = torch.randn(40, 3, field.px**2, generator=generator, dtype=torch.float64)
    x = ((white * field.variances.sqrt()) @ field.directions.T).reshape(40, 3, field.px, field.px)
    assert float(x.diff(dim=-1).abs().mean()) == pytest.approx(field.jump(), rel=0.05)
    noisy = x + 0.4 * torch.randn(x.shape, generator=generator, dtype=torch.float64)
    error = {s: float((field.denoise(noisy, torch.tensor([s]), None) - x).square().mean()) for s in (0.3, 0.4, 0.5)}
    assert error[0.4] < error[0.3] and error[0.4] < error[0.5]
