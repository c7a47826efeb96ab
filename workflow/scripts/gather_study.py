"""Gather the evaluations of a study's combinations into one table with intervals over seeds, a picture, and the winner."""

from histogenesis.steps.command import run
from histogenesis.steps.gather_study import gather_study

if __name__ == "__main__":
    run(gather_study)
