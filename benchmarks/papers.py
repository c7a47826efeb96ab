"""The papers' tables from their own public numbers, with intervals: what each can carry.

    python benchmarks/papers.py

Son 2023: the five parts of the held-out patches (ablation_dict1..5.json of the published code). URCDM 2024: true and false
positives of each rater (table 2). Intervals: Student's over the five parts; Clopper and Pearson's of a share; of the weighted
mean error 10,000 resamplings of the ratings, within each rater (its chance alone) and of raters too (other pathologists).
"""

from itertools import combinations

import numpy as np
from scipy import stats

from histogenesis.metrics.distances.intervals import binomial_interval, t_interval

SON = {  # arm -> negative log-likelihood, SSIM of each part
    "linear / none": (
        (0.015607295881885738, 0.015641404671615428, 0.0158477319760269, 0.015957136904255726, 0.015806771349600818),
        (
            0.0001425551073928808,
            0.00018392950034794512,
            4.973227195467883e-05,
            0.0001735275394801218,
            0.0002800129572012928,
        ),
    ),
    "linear / self": (
        (0.01813890919808453, 0.013146756740098589, 0.013099081194802617, 0.013243315728862634, 0.0170184573841628),
        (
            0.00010040193204543273,
            0.0001016696925494778,
            9.411678209698457e-05,
            8.41746504387159e-05,
            0.00015792261235462537,
        ),
    ),
    "cosine / none": (
        (0.013440882827296402, 0.01434057067271029, 0.01481518917185288, 0.0166636244634564, 0.014918476043521752),
        (
            0.00016122064751799726,
            4.184624844680676e-05,
            0.0005066706074017363,
            0.00017805601250422135,
            0.0003131798207163495,
        ),
    ),
    "cosine / self": (
        (0.016220014170230303, 0.016294265463111107, 0.0179020573912549782, 0.01644661881950464, 0.01720938485747369),
        (
            0.00023820412457072908,
            0.0003098014967118421,
            6.603948571183474e-05,
            -6.747858747944571e-05,
            0.00011049206719938067,
        ),
    ),
}
PRINTED = {  # the paper's table
    "linear / none": (0.01569078, 0.00013885),
    "linear / self": (0.01568433, 0.00010798),
    "cosine / none": (0.01448672, 0.00026722),
    "cosine / self": (0.01710702, 0.00015712),
}
URCDM = {
    "LRDM": [(250, 179), (106, 145), (29, 99), (110, 162)],
    "URCDM": [(61, 66), (152, 6), (28, 33), (47, 10), (29, 21)],
}


def son() -> None:
    for column, name in enumerate(("negative log-likelihood", "SSIM")):
        print(f"\nSon 2023, {name}: mean of five parts (95 %), printed in the paper")
        for arm, values in SON.items():
            value, low, high = t_interval(list(values[column]))
            print(f"| {arm} | {value:.5f} ({low:.5f} to {high:.5f}) | {PRINTED[arm][column]:.5f} |")
        pairs = list(combinations(SON, 2))
        for a, b in pairs:
            p = stats.ttest_ind(SON[a][column], SON[b][column], equal_var=False).pvalue
            paired = stats.ttest_rel(SON[a][column], SON[b][column]).pvalue
            print(
                f"  {a} against {b}: Welch p = {p:.3f} ({min(1, p * len(pairs)):.2f} of six), paired p = {paired:.3f}"
            )


def mean_error(counts: np.ndarray) -> float:
    """W-MAE: |p - 1/2| of each rater, p = FP / (TP + FP), weighted by the number of ratings."""
    n = counts.sum(axis=1)
    return float((np.abs(counts[:, 1] / n - 0.5) * n).sum() / n.sum())


def urcdm() -> None:
    rng = np.random.default_rng(1)
    drawn = {}
    for name, ratings in URCDM.items():
        counts = np.array(ratings)
        n = counts.sum(axis=1)
        print(f"\n{name}: p of each rater (exact, 95 %)")
        for true, false in counts:
            low, high = binomial_interval(int(false), int(true + false))
            test = stats.binomtest(int(false), int(true + false)).pvalue
            print(f"| {true}, {false} | {false / (true + false):.4f} ({low:.3f} to {high:.3f}) | p(1/2) = {test:.2g} |")
        same = [resampled(counts, n, rng) for _ in range(10_000)]
        other = [resampled(*pick(counts, n, rng), rng) for _ in range(10_000)]
        drawn[name] = same, other
        chance = np.mean([mean_error(np.stack([n - f, f], 1)) for f in rng.binomial(n, 0.5, (10_000, len(n)))])
        for label, one in (("of these raters", same), ("of other raters", other)):
            low, high = np.percentile(one, [2.5, 97.5])
            print(
                f"  W-MAE {mean_error(counts):.4f} ({low:.3f} to {high:.3f}, {label}); by guessing alone {chance:.4f}"
            )
    for label, k in (("of these raters", 0), ("of other raters", 1)):
        low, high = np.percentile(np.array(drawn["URCDM"][k]) - drawn["LRDM"][k], [2.5, 97.5])
        print(f"URCDM - LRDM, {label}: {low:.3f} to {high:.3f}")


def resampled(counts: np.ndarray, n: np.ndarray, rng: np.random.Generator) -> float:
    false = rng.binomial(n, counts[:, 1] / n)
    return mean_error(np.stack([n - false, false], axis=1))


def pick(counts: np.ndarray, n: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    rows = rng.integers(len(counts), size=len(counts))
    return counts[rows], n[rows]


if __name__ == "__main__":
    son()
    urcdm()
