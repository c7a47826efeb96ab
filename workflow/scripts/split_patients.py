"""Choose what is held out, whole patients or a part of each slide, and write splits.tsv."""

from histogenesis.steps.command import run
from histogenesis.steps.split_patients import split_patients

if __name__ == "__main__":
    run(split_patients)
