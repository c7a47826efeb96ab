"""Take a model that another run has trained: its two files are copied as they are, after a look whether they fit."""

from histogenesis.steps.command import run
from histogenesis.steps.take_model import take_model

if __name__ == "__main__":
    run(take_model)
