"""How far readers agree beyond chance, for answers of any kind and with gaps: Fleiss' kappa and Gwet's AC1.

With r_iq readers who gave picture i the answer q, and r_i who answered it, the agreement is the mean over pictures with r_i
>= 2 of sum_q r_iq (r_iq - 1) / (r_i (r_i - 1)). Chance is sum pi_q^2 for kappa and sum pi_q (1 - pi_q) / (Q - 1) for AC1,
where pi_q is the mean of r_iq / r_i. Fleiss 1971; Gwet 2008 (Br J Math Stat Psychol 61:29-48)
and 2014 (gaps). Kappa falls to nothing where nearly all answers are the same, however many agree; AC1 does not.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def agreement(answers: np.ndarray, options: Sequence[str]) -> dict[str, float | None]:
    """answers: (readers, pictures) of options or None. `observed`, `fleiss_kappa`, `gwet_ac1`; None where it is not defined."""
    table = np.stack([(answers == option).sum(axis=0) for option in options], axis=1).astype(float)
    raters = table.sum(axis=1)
    table, raters = table[raters > 0], raters[raters > 0]
    pairs = raters > 1
    none: dict[str, float | None] = {"observed": None, "fleiss_kappa": None, "gwet_ac1": None}
    if not pairs.any():
        return none
    own, n = table[pairs], raters[pairs]
    observed = float(((own * (own - 1)).sum(axis=1) / (n * (n - 1))).mean())
    common = (table / raters[:, None]).mean(axis=0)
    chance = {
        "fleiss_kappa": float((common**2).sum()),
        "gwet_ac1": float((common * (1 - common)).sum() / (len(options) - 1)) if len(options) > 1 else 1.0,
    }
    return {"observed": observed} | {name: (observed - c) / (1 - c) if c < 1 else None for name, c in chance.items()}
