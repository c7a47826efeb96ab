"""Cut patches from the regions of a slide that a person drew and classified (GeoJSON), at every mpp of a patch set."""

from histogenesis.steps.command import run
from histogenesis.steps.cut_regions import cut_regions

if __name__ == "__main__":
    run(cut_regions)
