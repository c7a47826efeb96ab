"""Compare crops of the synthetic slides with held-out real patches: distances, manifold, copies, each beside its floor."""

from histogenesis.steps.command import run
from histogenesis.steps.evaluate_patches import evaluate_patches

if __name__ == "__main__":
    run(evaluate_patches)
