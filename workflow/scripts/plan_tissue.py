"""Find the tissue of a drawn level 0: what the finer levels refine; the rest is filled with the background colour found."""

from histogenesis.steps.command import run
from histogenesis.steps.plan_tissue import plan_tissue

if __name__ == "__main__":
    run(plan_tissue)
