"""Train the classifiers that learn from real patches alone, once for all samples that are compared with one patch set."""

from histogenesis.steps.command import run
from histogenesis.steps.train_on_real import train_on_real

if __name__ == "__main__":
    run(train_on_real)
