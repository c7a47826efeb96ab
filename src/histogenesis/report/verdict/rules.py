"""The rules of the verdict, as data: from where on a number is far, and which words stand for what."""

from __future__ import annotations

from dataclasses import dataclass

from histogenesis.report.blocks import Status

COPYING: dict[str, Status] = {
    "copies": "bad",
    "suspect": "look",
    "clear": "good",
}  # verdict of the audit -> how it is shown

FAR = 0.5  # of the way from real tissue to tissue without structure: more is not like tissue
NEAR = 0.25  # less is not seen, where no interval says more
MOST = 0.5  # of the numbers of one resolution: what more of them say goes into the verdict
TOLD = 0.9  # of patches rightly told by a classifier that has not seen them
TOLD_BEYOND = 0.1  # more than real patients are told from one another: then it can be told, whatever distances say
LIKENESS = ("distance", "manifold", "classifier")  # kinds of metrics that say how much alike patches are

# Kinds of metrics by their names, where a file does not say them.
KINDS = {
    "fid": "distance",
    "fid_infinity": "distance",
    "kid": "distance",
    "cmmd": "distance",
    "precision": "manifold",
    "recall": "manifold",
    "density": "manifold",
    "coverage": "manifold",
    "c2st": "classifier",
    "ssim": "pixels",
    "likelihood": "pixels",
    "seam_mmd": "seams",
}

# Condition of a slide (evaluation/condition.py), before anything is compared.
LEAST_TISSUE = 1 / 3  # of the smallest share of tissue among the real slides
FLAT = 1 / 4  # of the real patches' contrast: less is a picture of one colour
HARSH = 3.0  # times the real patches' contrast
COLOUR_APART = (
    12.0  # CIELAB: more than this from the nearest real slide is another colour than theirs, where few are known
)
COLOUR_TIMES = 2.0  # times the distance of the real slide that is furthest from its nearest other
COLOUR_NEVER = 30.0  # CIELAB: slides of other laboratories lie up to 29 apart; more is no stain
CLEAR_SEAM = 1.1  # an interval that lies wholly above this is a seam that one may see, however many levels were tested
WIDE_SEAM = 1.5  # an interval that reaches this says too little to call a level free of seams
CLOSE, DISTANT = 2, 16  # mean cross-scale error, grey steps of 255: hardly visible; another picture
SEAM_P = 0.01  # of a permutation test, after correction for how many were made
POWER = 0.8  # of a search for copies: with less, nothing found says nothing


@dataclass(frozen=True)
class Words:
    """What is said of a measure of tissue when the synthetic slides have less of it, or more, than real ones; `missing`
    when they have less than a quarter. `bad`: then it is no tissue."""

    less: str
    more: str
    what: str
    missing: str = ""
    unit: str = ""

    def say(self, real: float | None, generated: float | None) -> str:
        if real is None or generated is None:
            return f"{self.what} off"
        if self.missing and generated < real / 4:
            return self.missing
        return self.less if generated < real else self.more


MORPHOLOGY = {
    "nuclei_per_mm2": Words("too few cells", "too many cells", "nuclei", "cells are missing", "per mm2"),
    "nucleus_area": Words("nuclei too small", "nuclei too large", "area of nuclei", unit="µm²"),
    "nucleus_eccentricity": Words("nuclei too round", "nuclei too long", "eccentricity of nuclei"),
    "nucleus_haematoxylin": Words("nuclei too pale", "nuclei too dark", "haematoxylin of nuclei"),
    "nucleus_distance": Words("nuclei too close together", "nuclei too far apart", "distance of nuclei", unit="µm"),
    "ripley_k": Words("nuclei spread too evenly", "nuclei clustered too much", "arrangement of nuclei"),
    "epithelium": Words("too little epithelium", "too much epithelium", "epithelium", "no epithelium"),
    "stroma": Words("too little stroma", "too much stroma", "stroma", "no stroma"),
    "lumen": Words("too little lumen", "too much lumen", "lumen", "no lumina"),
    "gland_area": Words("glands too small", "glands too large", "size of glands", unit="µm²"),
    "lumen_area": Words("lumina too small", "lumina too large", "size of lumina", unit="µm²"),
    "fragment_area": Words("pieces of tissue too small", "pieces of tissue too large", "pieces of tissue", unit="mm²"),
    "fragment_solidity": Words("outlines too ragged", "outlines too smooth", "outline of pieces"),
    "fragment_count": Words("too few pieces of tissue", "too many pieces of tissue", "number of pieces"),
}
COLOURS = {
    "stain_vectors": Words("hues of the stains off", "hues of the stains off", "hues of the stains", unit="degrees"),
    "haematoxylin_amount": Words("haematoxylin too weak", "haematoxylin too strong", "haematoxylin"),
    "eosin_amount": Words("eosin too weak", "eosin too strong", "eosin"),
}
# Without these a picture is no tissue, whatever distances say.
VITAL = ("nuclei_per_mm2",)

# The first words of the bottom line, by what leads it. The first that holds is taken.
HEADLINES = {
    "empty": "Failed: {clause}",
    "colour": "Failed: {clause}",
    "undrawn": "No synthetic slide was drawn",
    "copies": "Copies its training patches",
    "far": "Does not look like tissue",
    "worse": "Can be told from tissue",
    "near": "Nothing found that tells it from tissue, but how surely is not known",
    "within": "As close to real tissue as real tissue is to itself, by all that was measured",
    "unsure": "Whether it looks like tissue is not sure",
    "unknown": "Whether it looks like tissue was not measured",
}
# Order of the clauses that follow: what is bad first, then as here.
TOPICS = ("likeness", "cells", "colours", "seams", "scales", "copies", "held-out", "material")
