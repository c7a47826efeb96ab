"""How fast and how right the Frechet distance is: ours against scipy's sqrtm and the eigenvalues of the product.
Prints a table for one dimension; times are ratios within one run, errors are against the images' own side (n x n)."""

import argparse
import json
import time

import numpy as np
import scipy.linalg

from histogenesis.metrics.distances.frechet import frechet_distance


def by_sqrtm(m1, s1, m2, s2):
    """The published form (Heusel et al. 2017)."""
    root = scipy.linalg.sqrtm(s1 @ s2)
    return ((m1 - m2) ** 2).sum() + np.trace(s1 + s2) - 2 * np.trace(np.real(root))


def by_eigenvalues(m1, s1, m2, s2):
    """torch-fidelity's form: eigenvalues of the product, which is not symmetric."""
    roots = np.sqrt(np.linalg.eigvals(s1 @ s2).astype(complex)).real.sum()
    return ((m1 - m2) ** 2).sum() + np.trace(s1 + s2) - 2 * roots


def by_eigh(m1, s1, m2, s2):
    """Eigenvalues of sqrt(s1) s2 sqrt(s1): symmetric, and still takes roots of rounded zeros."""
    values, vectors = np.linalg.eigh(s1)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    roots = np.sqrt(np.linalg.eigvalsh(root @ s2 @ root).clip(0)).sum()
    return ((m1 - m2) ** 2).sum() + np.trace(s1 + s2) - 2 * roots


METHODS = {"ours": frechet_distance, "eigh": by_eigh, "eigenvalues of the product": by_eigenvalues, "sqrtm": by_sqrtm}


def truth(x, y):
    a, b = ((v - v.mean(0)) / np.sqrt(len(v) - 1) for v in (x, y))
    cross = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    return ((x.mean(0) - y.mean(0)) ** 2).sum() + (a**2).sum() + (b**2).sum() - 2 * cross


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dimensions", type=int, default=2048)
    parser.add_argument("--json", help="write the table to this file too")
    arguments = parser.parse_args()
    d, rng, table = arguments.dimensions, np.random.default_rng(0), []
    for what, n in (("regular", 2 * d), ("singular", d // 4)):
        scale = np.exp(-np.arange(d) / (d / 4))
        x, y = rng.normal(size=(n, d)) * scale, rng.normal(size=(n, d)) * scale + 0.1 * scale
        moments = (x.mean(0), np.cov(x, rowvar=False), y.mean(0), np.cov(y, rowvar=False))
        right = truth(x, y)
        for name, method in METHODS.items():
            start = time.perf_counter()
            value = method(*moments)
            seconds = time.perf_counter() - start
            error = abs(value - right) / max(1, right)
            table.append({"covariances": what, "method": name, "seconds": seconds, "error": float(error)})
    for row in table:
        ours = next(r["seconds"] for r in table if r["method"] == "ours" and r["covariances"] == row["covariances"])
        print(
            f"{row['covariances']:9} {row['method']:27} {row['seconds']:8.2f} s  {row['seconds'] / ours:6.1f} x ours  error"
            f" {row['error']:.1e}"
        )
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump({"dimensions": d, "rows": table}, file, indent=1)


if __name__ == "__main__":
    main()
