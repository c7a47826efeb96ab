"""The data gate, before training: counts what every level, model and class has to learn from and what is held out of it."""

from histogenesis.steps.check_data import check_data
from histogenesis.steps.command import run

if __name__ == "__main__":
    run(check_data)
