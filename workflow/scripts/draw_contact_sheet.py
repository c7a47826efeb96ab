"""A contact sheet: rows of held-out real patches above rows of synthetic ones, one pair for each level's mpp."""

from histogenesis.steps.command import run
from histogenesis.steps.draw_contact_sheet import draw_contact_sheet

if __name__ == "__main__":
    run(draw_contact_sheet)
