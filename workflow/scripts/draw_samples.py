"""Draw patches with a trained model: so many of each class, as a patch file, and a sheet that shows all of them."""

from histogenesis.steps.command import run
from histogenesis.steps.draw_samples import draw_samples

if __name__ == "__main__":
    run(draw_samples)
