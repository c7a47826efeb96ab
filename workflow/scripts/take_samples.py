"""Take patches that another generator has made, or patches of its slides, to be judged as drawn ones are."""

from histogenesis.steps.command import run
from histogenesis.steps.take_samples import take_samples

if __name__ == "__main__":
    run(take_samples)
