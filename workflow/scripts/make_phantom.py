"""Make a phantom: a procedural H&E-like slide (pyramidal TIFF) with a known tissue mask (PNG, 10 um/px)."""

from histogenesis.steps.command import run
from histogenesis.steps.make_phantom import make_phantom

if __name__ == "__main__":
    run(make_phantom)
