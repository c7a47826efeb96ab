"""Cut a slide's patches at every mpp of a patch set into one HDF5 file, where there is enough tissue."""

from histogenesis.steps.command import run
from histogenesis.steps.cut_patches import cut_patches

if __name__ == "__main__":
    run(cut_patches)
