"""Tell a slide's tissue from its background: mask.png, tissue.geojson, overlay.png, qc.json."""

from histogenesis.steps.command import run
from histogenesis.steps.segment_tissue import segment_tissue

if __name__ == "__main__":
    run(segment_tissue)
