"""Train one model: patches and a recipe's model section in, weights, a log and pictures out."""

from histogenesis.steps.command import run
from histogenesis.steps.train_model import train_model

if __name__ == "__main__":
    run(train_model)
