"""Compare patches that a model drew with held-out real ones, all together and class by class."""

from histogenesis.steps.command import run
from histogenesis.steps.evaluate_samples import evaluate_samples

if __name__ == "__main__":
    run(evaluate_samples)
