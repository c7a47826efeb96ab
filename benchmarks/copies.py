"""What the search for copies finds: copies of many kinds planted into honest patches at 0.2, 1 and 5 in 100, and false alarms.

    python benchmarks/copies.py TRAIN.tif HELD_OUT.tif --px 32 --mpp 2 > table.md

Training patches tile the first slide; held-out and "generated" (honest) patches are crops of two parts of the second.
"""

import argparse

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter, map_coordinates, rotate

from histogenesis.metrics.memorisation.audit import lone_from, power_of, verdict_of_pieces
from histogenesis.metrics.memorisation.copies import Search
from histogenesis.slides.read import open_slide

SHARES = (0.002, 0.01, 0.05)


def picture(path, mpp):
    with open_slide(path) as slide:
        scale = slide.mpp / mpp
        return slide.read(0, 0, (int(slide.height_px * scale) - 1, int(slide.width_px * scale) - 1), mpp)


def tissue(patches, least):
    return np.array([(patch.mean(axis=-1) < 225).mean() > least for patch in patches])


def crops(image, n, px, rng, least=0.5):
    found = []
    while len(found) < n:
        y, x = (int(rng.integers(side - px + 1)) for side in image.shape[:2])
        patch = image[y : y + px, x : x + px]
        if tissue([patch], least)[0]:
            found.append(patch)
    return np.stack(found)


def warped(patch, px, rng):
    """Moved by a smooth field of at most `px`."""
    side = len(patch)
    field = np.stack([gaussian_filter(rng.normal(size=(side, side)), side / 8) for _ in range(2)])
    at = np.mgrid[:side, :side] + px * field / np.abs(field).max()
    moved = [map_coordinates(patch[..., c].astype(float), at, order=1, mode="reflect") for c in range(3)]
    return np.stack(moved, axis=-1).astype(np.uint8)


def kinds(train, image, honest, px, n, rng):
    """name -> n copies of each kind."""
    picked = train[rng.choice(len(train), n)]
    turned = np.stack([np.rot90(p, rng.integers(4))[:, :: rng.choice((-1, 1))] for p in picked])
    shifted = crops(image, n, px, rng)  # by any number of px in both directions, as training patches tile the slide

    def zoomed(by, of=None):
        """Of places anywhere; or of training patches, about their middle (by < 1: what lies around is reflected)."""
        side, found = round(px / by), crops(image, n, round(px / by), rng) if of is None else of
        if of is not None:
            edge = px // 2
            found = np.pad(of, ((0, 0), (edge, edge), (edge, edge), (0, 0)), mode="reflect")
            at = edge + (px - side) // 2
            found = found[:, at : at + side, at : at + side]
        return np.stack([np.asarray(Image.fromarray(p).resize((px, px), Image.Resampling.BICUBIC)) for p in found])

    other = train[rng.choice(len(train), n)]
    return {
        "exact": picked,
        "turned, mirrored": turned,
        "shifted by 0 to half a patch": shifted,
        "shifted, noise of 10 grey levels": shifted + rng.normal(0, 10, shifted.shape),
        "shifted, other stain": 255 - (255 - shifted) * np.array([0.8, 1.1, 0.9]),
        "shifted, blurred by 1 px": np.stack([gaussian_filter(p, (1, 1, 0)) for p in shifted]),
        "blurred by 1 px": np.stack([gaussian_filter(p, (1, 1, 0)) for p in picked]),
        "blurred by 2 px": np.stack([gaussian_filter(p, (2, 2, 0)) for p in picked]),
        "blend, 70 : 30 with an honest patch": 0.7 * picked + 0.3 * honest[:n],
        "blend, half and half of two training patches": 0.5 * picked + 0.5 * other,
        **{f"zoomed by {by}": zoomed(by, picked) for by in (0.8, 0.9, 1.1, 1.25, 1.5)},
        **{f"zoomed by {by}, of places anywhere": zoomed(by) for by in (0.85, 1.2, 1.4)},
        **{f"rotated by {d} degrees": rotate(picked, d, (1, 2), False, order=1, mode="reflect") for d in (5, 10)},
        **{f"warped by up to 1 px in {k}": np.stack([warped(p, px / k, rng) for p in picked]) for k in (32, 16, 8)},
        "shifted, warped by up to 1 px in 16": np.stack([warped(p, px / 16, rng) for p in shifted]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train")
    parser.add_argument("held_out")
    parser.add_argument("--px", type=int, default=32)
    parser.add_argument("--mpp", type=float, default=2.0)
    parser.add_argument("--patches", type=int, default=500, help="held-out patches, and as many honest ones")
    parser.add_argument("--train-patches", type=int, default=2000)
    parser.add_argument("--each", type=int, default=50, help="copies of each kind")
    args = parser.parse_args()
    rng, px = np.random.default_rng(0), args.px
    image, other = picture(args.train, args.mpp), picture(args.held_out, args.mpp)
    rows = [y for y in range(0, image.shape[0] - px + 1, px)]
    train, last = [], 0
    for y in rows:
        found = np.stack([image[y : y + px, x : x + px] for x in range(0, image.shape[1] - px + 1, px)])
        train.append(found[tissue(found, 0.3)])
        last = y + px
        if sum(map(len, train)) >= args.train_patches:
            break
    train, image = np.concatenate(train), image[:last]
    half = other.shape[0] // 2
    held_out, honest = crops(other[:half], args.patches, px, rng), crops(other[half:], args.patches, px, rng)
    search = Search(train)
    made = search.queries(honest)
    sets = {"held out": search.queries(held_out), "honest": made}
    planted = kinds(train, image, honest, px, args.each, rng)
    sets |= {k: search.queries(np.clip(v, 0, 255).astype(np.uint8), like=made) for k, v in planted.items()}
    found = dict(zip(sets, search.match(train.__getitem__, len(train), list(sets.values()))))
    known, honest = (found[name].surprise for name in ("held out", "honest"))
    limit = lone_from(known, args.patches)
    print(
        f"{len(train):,} training patches of {px} px at {args.mpp:g} mpp, all searched; {args.patches} held out, as many"
    )
    print(f"generated. Verdict of honest patches: {verdict_of_pieces(known, honest)}; of {args.patches} honest patches")
    print(
        f"{(honest > limit).sum()} stand alone. Greatest surprise: held out {known.max():.1f}, honest {honest.max():.1f};"
    )
    print(f"alone from {limit:.1f}.\n")
    print(
        "| planted | single copies that stand alone | " + " | ".join(f"caught at {100 * s:g} %" for s in SHARES) + " |"
    )
    print("|---|---|" + "---|" * len(SHARES))
    for name in planted:
        surprise = found[name].surprise
        caught = [power_of(known, honest, surprise, share=s, trials=100)["found"] for s in SHARES]
        print(
            f"| {name} | {100 * (surprise > limit).mean():.0f} % | "
            + " | ".join(f"{100 * c:.0f} %" for c in caught)
            + " |"
        )


if __name__ == "__main__":
    main()
