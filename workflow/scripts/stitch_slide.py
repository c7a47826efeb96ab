"""Turn the finest canvas of a synthetic slide into a pyramidal TIFF that opens in QuPath."""

from histogenesis.steps.command import run
from histogenesis.steps.stitch_slide import stitch_slide

if __name__ == "__main__":
    run(stitch_slide)
