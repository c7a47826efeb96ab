"""Give level 0 of a synthetic slide: a region of a real slide at the recipe's mpp, under which the levels below are drawn."""

from histogenesis.steps.command import run
from histogenesis.steps.give_level import give_level

if __name__ == "__main__":
    run(give_level)
