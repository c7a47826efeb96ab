"""A blinded sheet at one mpp: as many held-out real crops as generated ones, shuffled; the key lies beside it (.key.tsv)."""

from histogenesis.steps.command import run
from histogenesis.steps.draw_blinded_sheet import draw_blinded_sheet

if __name__ == "__main__":
    run(draw_blinded_sheet)
