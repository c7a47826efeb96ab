"""Choose which groups of a labelled patch set are held out, and write its splits.tsv."""

from histogenesis.steps.command import run
from histogenesis.steps.split_groups import split_groups

if __name__ == "__main__":
    run(split_groups)
