"""Find the tissue of a drawn level 0."""

from __future__ import annotations

import sys
from pathlib import Path

from histogenesis.recipe import TissuePlan
from histogenesis.tissue import plan as drawn


def plan_tissue(
    *, level: Path, mask: Path, out: Path, options: TissuePlan = TissuePlan(), picture: Path | None = None
) -> None:
    """Find the tissue of a drawn level 0: what the finer levels refine; the rest is filled with the background colour found.

    Writes a mask of one pixel for each of level 0, and plan.json with the background colour.

    level: level0.h5, the drawn canvas
    mask: plan.png
    out: plan.json
    options: the recipe's section `synthetic.plan`
    picture: level 0 with the plan outlined, PNG
    """
    plan = drawn.plan_tissue(level, options, mask, out, picture)
    for warning in plan["warnings"]:
        print(f"{plan['slide']}: {warning}", file=sys.stderr)
