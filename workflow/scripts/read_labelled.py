"""Read labelled patches that were cut elsewhere (image files, PatchCamelyon's HDF5, Kaggle's copy) into one patch file."""

from histogenesis.steps.command import run
from histogenesis.steps.read_labelled import read_labelled

if __name__ == "__main__":
    run(read_labelled)
