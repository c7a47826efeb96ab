"""Make one level of a synthetic slide from the level above by a baseline: bicubic, TV-L1 or a trained network."""

from histogenesis.steps.command import run
from histogenesis.steps.upscale_level import upscale_level

if __name__ == "__main__":
    run(upscale_level)
