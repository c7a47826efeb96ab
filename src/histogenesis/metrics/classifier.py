"""A classifier two-sample test (Lopez-Paz and Oquab 2017): how often a classifier tells two sets apart on patients it has not
seen.

0.5: it cannot. Two classifiers: a small network of its own on pixels, and logistic regression on an encoder's features.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import optimize

Classifier = Callable[
    [np.ndarray, np.ndarray, np.ndarray, int], np.ndarray
]  # x, y of training, x of test, seed -> p (n,)
FOLDS = 3
BATCH = 32
LEAST_PX = 8


@dataclass(frozen=True)
class C2st:
    """accuracy: mean of both sets'; first, second: the probability of being of the second set, of each row of the two, each
    by a classifier that saw none of its group; by_group: whether that was so, or too few groups left only rows to split
    by."""

    accuracy: float
    first: np.ndarray
    second: np.ndarray
    by_group: bool

    def of_groups(self, first_groups, second_groups) -> np.ndarray:
        """The accuracy of each group of either set."""
        right = [self.first < 0.5, self.second >= 0.5]
        return np.concatenate(
            [[r[g == name].mean() for name in np.unique(g)] for r, g in zip(right, (first_groups, second_groups))]
        )


def c2st(first, second, first_groups, second_groups, classify: Classifier, folds: int = FOLDS, seed: int = 0) -> C2st:
    """Cross-validated over folds that share no group (patient, slide). A set with fewer groups than folds is split by row."""
    rng = np.random.default_rng([seed, 11])
    at, grouped = zip(*(_folds(np.asarray(g), folds, rng) for g in (first_groups, second_groups)))
    found = [np.empty(len(first)), np.empty(len(second))]
    for k in range(folds):
        x = np.concatenate([first[at[0] != k], second[at[1] != k]])
        y = np.repeat([0.0, 1.0], [(at[0] != k).sum(), (at[1] != k).sum()])
        tests = [s[a == k] for s, a in zip((first, second), at)]
        p = classify(x, y, np.concatenate(tests), seed + k)
        for side, part in zip(range(2), np.split(p, [len(tests[0])])):
            found[side][at[side] == k] = part
    accuracy = ((found[0] < 0.5).mean() + (found[1] >= 0.5).mean()) / 2
    return C2st(float(accuracy), found[0], found[1], all(grouped))


def _folds(groups, folds, rng) -> tuple[np.ndarray, bool]:
    names = rng.permutation(np.unique(groups))
    if len(names) < folds:
        return rng.permutation(np.arange(len(groups)) % folds), False
    sizes, fold_of = np.zeros(folds), {}
    for name in sorted(names, key=lambda n: -(groups == n).sum()):  # the largest first, each to the emptiest fold
        fold_of[name] = int(sizes.argmin())
        sizes[fold_of[name]] += (groups == name).sum()
    return np.array([fold_of[g] for g in groups]), True


def _weights(y) -> np.ndarray:
    """Both sets weigh as much, however many rows they have."""
    return np.where(y > 0, 0.5 / max(y.sum(), 1), 0.5 / max((1 - y).sum(), 1))


def logistic(x, y, test, seed: int, penalty: float = 1e-2) -> np.ndarray:
    """Logistic regression on standardised features (n, d), with an L2 penalty."""
    mean, std = x.mean(axis=0), x.std(axis=0) + 1e-6
    x, test = (np.asarray((v - mean) / std, np.float64) for v in (x, test))
    weights, sign = _weights(y), 2 * y - 1

    def loss(w):
        margin = sign * (x @ w[1:] + w[0])
        gradient = -weights * sign / (1 + np.exp(np.clip(margin, -500, 500)))
        value = (weights * np.logaddexp(0, -margin)).sum() + penalty / 2 * (w[1:] ** 2).sum()
        return value, np.concatenate([[gradient.sum()], x.T @ gradient + penalty * w[1:]])

    w = optimize.minimize(loss, np.zeros(x.shape[1] + 1), jac=True, method="L-BFGS-B", options={"maxiter": 200}).x
    return 1 / (1 + np.exp(-np.clip(test @ w[1:] + w[0], -500, 500)))


def small_network(steps: int) -> Classifier:
    """Four convolutions and a mean over places, on pixels uint8 (n, h, w, 3); batches hold as many of both, turned and
    mirrored."""

    def classify(x, y, test, seed):
        import torch
        from torch import nn

        sides = [np.flatnonzero(y == side) for side in (0, 1)]
        rng = np.random.default_rng([seed, 13])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            layers, inputs = [], 3
            for outputs in (16, 32, 48, 64):
                layers += [nn.Conv2d(inputs, outputs, 3, 2, 1), nn.GroupNorm(8, outputs), nn.SiLU()]
                inputs = outputs
            network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, 1))
        optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-3)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=steps)
        answers = torch.from_numpy(np.repeat([0.0, 1.0], BATCH // 2)).float()
        for _ in range(steps):
            rows = np.concatenate([rng.choice(side, BATCH // 2) for side in sides])
            images = np.rot90(x[rows], int(rng.integers(4)), axes=(1, 2))[:, :, :: rng.choice([-1, 1])]
            optimiser.zero_grad(set_to_none=True)
            logits = network(_as_input(images)).squeeze(1)
            nn.functional.binary_cross_entropy_with_logits(logits, answers).backward()
            optimiser.step()
            schedule.step()
        network.eval()
        with torch.inference_mode():
            parts = [network(_as_input(test[i : i + 128])).squeeze(1).sigmoid() for i in range(0, len(test), 128)]
        return torch.cat(parts).numpy()

    return classify


def _as_input(images):
    import torch

    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 127.5 - 1
