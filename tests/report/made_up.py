"""A made-up run folder with real files of tiny size."""

import json
from pathlib import Path

import h5py
import numpy as np
import yaml
from PIL import Image
from scipy.ndimage import gaussian_filter

from histogenesis.metrics.coherence.coherence import LevelTiles, measure_coherence
from histogenesis.patches.store import Cut, write_store

MPPS = [16.0, 8.0, 4.0]
LEVEL0 = (40, 56)  # px: height, width
RELAXED = {"kind": "null-space", "relaxation": {"steps": 4, "sigma": None}}
TILES = [
    {"tile_px": 32, "joining": {"kind": "grid-shift"}, "constraint": {"kind": "none"} if k == 0 else RELAXED}
    for k in range(3)
]


def tissue(height, width):
    """An ellipse, by fractions of the picture: bool (height, width)."""
    y, x = (np.indices((height, width)) + 0.5) / np.array([height, width])[:, None, None]
    return ((y - 0.5) / 0.36) ** 2 + ((x - 0.52) / 0.4) ** 2 < 1


def picture(rng, height, width, blur):
    """Pink texture on white inside the ellipse: float (height, width, 3)."""
    field = gaussian_filter(rng.standard_normal((height, width)), blur, mode="wrap")
    field = (field / field.std())[..., None]
    return np.where(tissue(height, width)[..., None], [196, 130, 178] + field * [16, 26, 14], 243)


def write_canvases(folder: Path, seed: int):
    """level0.h5 to level2.h5, each of which averages back to the one above, and plan.png."""
    rng, (height, width) = np.random.default_rng(seed), LEVEL0
    folder.mkdir(parents=True)
    level = picture(rng, height, width, 2)
    for k, mpp in enumerate(MPPS):
        if k:
            detail = gaussian_filter(rng.standard_normal(np.multiply(level.shape, (2, 2, 1))), (0.7, 0.7, 0)) * 25
            mean = detail.reshape(level.shape[0], 2, level.shape[1], 2, 3).mean(axis=(1, 3)).repeat(2, 0).repeat(2, 1)
            level = level.repeat(2, 0).repeat(2, 1)
            level = level + (detail - mean) * (level < 240)
        with h5py.File(folder / f"level{k}.h5", "w") as file:
            file["image"] = np.clip(level.round(), 0, 255).astype(np.uint8)
            file.attrs.update(mpp=mpp, level=k, slide=folder.name, synthetic=True, seed=seed)
    plan = tissue(height, width)
    Image.fromarray(plan.astype(np.uint8) * 255).save(folder / "plan.png")
    (folder / "plan.json").write_text(json.dumps({"fraction": float(plan.mean()), "warnings": []}))


def write_patches(path: Path, rng, counts: dict, size_px=32, width_px=2000, error=""):
    """A patch file; patches of each mpp lie side by side over the slide's width."""
    mpps = np.repeat(list(counts), list(counts.values())).astype(float)
    coords = [[int(i * (width_px - 4 * size_px) / max(1, n)), 10] for n in counts.values() for i in range(n)]
    coords, tissue = np.array(coords, np.int64).reshape(-1, 2), np.full(len(mpps), 0.8, np.float32)
    cut = Cut(path.stem, size_px, width_px, 1500, 4.0, coords, mpps, tissue, error=error)
    write_store(path, cut, (picture(rng, size_px, size_px, 1.5).clip(0, 255).round() for _ in mpps))


def write_slide(run: Path, name: str, rng, error=None, warnings=(), path="some.svs"):
    record = {"slide": name, "path": path, "mpp": 4.0, "width_px": 2000, "height_px": 1500, "error": error}
    (run / "slides").mkdir(parents=True, exist_ok=True)
    (run / "slides" / f"{name}.json").write_text(json.dumps(record))
    if error:
        return
    folder = run / "tissue" / name
    folder.mkdir(parents=True)
    qc = {
        "slide": name,
        "area_mm2": 21.7,
        "fraction": 0.45,
        "warnings": list(warnings),
        "source": "fesi",
        "error": None,
    }
    (folder / "qc.json").write_text(json.dumps(qc))
    Image.fromarray(picture(rng, 90, 120, 3).clip(0, 255).astype(np.uint8)).save(folder / "overlay.png")


def write_model(run: Path, name: str):
    folder = run / "models" / name
    folder.mkdir(parents=True)
    card = {
        "network": {"kind": "ddpmpp", "channels": 24, "multipliers": [1, 2, 3], "dropout": 0.1},
        "objective": {"kind": "edm", "sigma_data": 0.5, "p_mean": -1.2, "p_std": 1.2},
        "conditions": ["mpp"],
        "normalisation": {"mean": [0.45, 0.1, 0.35], "scale": 1.31},
        "sigma_data": 0.5,
        "mpps": MPPS,
        "patch_px": 32,
        "parameters": 1_104_387,
        "steps": 600,
        "training": "4f1e0c",
    }
    (folder / "model.json").write_text(json.dumps(card))
    lines = [
        {"step": s, "images": 16 * s, "loss": 0.73 * (s / 50) ** -0.28, "lr": 3e-3, "seconds": s / 8}
        for s in range(50, 601, 50)
    ]
    lines += [{"step": s, "validation_loss": 0.8 * (s / 50) ** -0.25} for s in (200, 400, 600)]
    (folder / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    y, x = np.indices((240, 400))
    Image.fromarray((((y - 200 / (1 + x / 40)) ** 2 > 9) * 255).astype(np.uint8)).save(folder / "loss.png")
    tiles = picture(np.random.default_rng(1), 96, 128, 1.5).clip(0, 255).astype(np.uint8)
    Image.fromarray(tiles).save(folder / "samples.png")


def write_splits(run: Path, rows):
    lines = ["slide\tpatient\tsplit\tx_from\tx_to", *("\t".join(map(str, row)) for row in rows)]
    (run / "splits.tsv").write_text("\n".join(lines) + "\n")


def write_synthetic(run: Path, name: str, seed: int):
    write_canvases(run / "synthetic" / name, seed)
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(run / "synthetic" / f"{name}.tif")
    evaluation = run / "evaluation" / name
    evaluation.mkdir(parents=True)
    tiles = [LevelTiles.model_validate(tile) for tile in TILES]
    found = measure_coherence(run / "synthetic" / name, run / "synthetic" / name / "plan.png", 100, tiles, evaluation)
    (evaluation / "coherence.json").write_text(json.dumps(found))


RECIPE = {
    "run": "made-up",
    "seed": 7,
    "synthetic": {
        "slides": 1,
        "levels": [
            {"mpp": mpp, "model": "unet", **tile, "sampler": {"kind": "heun", "steps": 18}}
            for mpp, tile in zip(MPPS, TILES)
        ],
    },
}


def make_run(run: Path) -> None:
    """Two patients that train, one held out, one slide set aside, one warning; a synthetic slide; a model."""
    rng = np.random.default_rng(3)
    run.mkdir(parents=True)
    (run / "recipe.yaml").write_text(yaml.safe_dump(RECIPE, sort_keys=False))
    write_slide(run, "colon_1", rng)
    write_slide(run, "colon_2", rng, warnings=["pen mark near the border"])
    write_slide(run, "colon_3", rng)
    write_slide(run, "broken", rng, error="broken.svs: cut off in the middle; copy it again")
    write_splits(
        run, [("colon_1", "A", "train", 0, 1), ("colon_2", "B", "train", 0, 1), ("colon_3", "C", "validation", 0, 1)]
    )
    for i, name in enumerate(("colon_1", "colon_2", "colon_3")):
        write_patches(run / "patches" / "main" / f"{name}.h5", rng, {16.0: 10 + i, 8.0: 12, 4.0: 9})
        overlay = Image.open(run / "tissue" / name / "overlay.png")
        overlay.save(run / "patches" / "main" / f"{name}.png")
    write_model(run, "unet")
    write_synthetic(run, "synthetic_001", 5)
    for step, seconds in (("train_model", 75.2), ("draw_level", 31.0), ("draw_level", 12.5)):
        folder = run / "benchmarks" / step
        folder.mkdir(parents=True, exist_ok=True)
        text = f"s\th:m:s\tmax_rss\tmax_vms\n{seconds}\t0:01:15\t412.5\t-\n"
        (folder / f"job{seconds:g}.tsv").write_text(text)
