"""Draw one level of a synthetic slide: its models, and the level above, in; a lossless canvas out."""

from histogenesis.steps.command import run
from histogenesis.steps.draw_level import draw_level

if __name__ == "__main__":
    run(draw_level)
