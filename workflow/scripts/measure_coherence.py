"""Seam score and cross-scale error of each level of a synthetic slide, as coherence.json."""

from histogenesis.steps.command import run
from histogenesis.steps.measure_coherence import measure_coherence

if __name__ == "__main__":
    run(measure_coherence)
