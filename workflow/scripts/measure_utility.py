"""Measure the use of generated patches: a classifier trained on real, generated, and both, tested on held-out real ones."""

from histogenesis.steps.command import run
from histogenesis.steps.measure_utility import measure_utility

if __name__ == "__main__":
    run(measure_utility)
