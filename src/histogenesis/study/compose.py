"""The questions of each kind of reader study, and the pictures that they show: recipe section + run -> Composed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from histogenesis.core.errors import BadInput
from histogenesis.core.geometry import is_finer, same_mpp, served_mpp
from histogenesis.recipe.reading import Pairs, Survey, WholeSlides
from histogenesis.study.equal import GRID_PX, Scanner, as_file, equal_picture, scanners_of
from histogenesis.study.questions import CERTAINTY, GENERATED, LEFT, REAL, RIGHT, Part, Question, rng_of, secret_of
from histogenesis.study.slide_tiles import DeepSlide
from histogenesis.study.sources import Source, canvas_sources, real_sources
from histogenesis.study.survey_pictures import SurveyPictures

SIDES = {LEFT: "the left one", RIGHT: "the right one"}
TRIES = 200  # random places that a crop with tissue enough is looked for at
CHOICE = 4  # times as many places as pairs, of which those with as much tissue are chosen


@dataclass(frozen=True)
class Place:
    """A crop's top left corner, and the share of tissue in it."""

    share: float
    source: Source
    x_um: float
    y_um: float


@dataclass
class Composed:
    """pictures: JPEG files, or whole slides to be tiled; questions point to them."""

    secret: str
    parts: list[Part]
    questions: list[Question]
    pictures: list[Any]
    notes: list[str] = field(default_factory=list)


def sides(rng: random.Random, n: int) -> list[bool]:
    """n sides, half of them left, in random order."""
    out = [k % 2 == 0 for k in range(n)]
    rng.shuffle(out)
    return out


def sources_of(
    section: WholeSlides | Pairs, run_dir: Path, names: Sequence[str]
) -> tuple[Sequence[Source], Sequence[Source]]:
    real = real_sources(run_dir, held_out=section.real == "held-out")
    if not real:
        raise BadInput(
            f"{run_dir / 'splits.tsv'}: no real slide was held out, so there is none to show; set `real: all`"
        )
    return real, canvas_sources(run_dir, names)


# ------------------------------------------------------------------------------------------------ whole slides


def whole_slides(section: WholeSlides, run_dir: Path, names: Sequence[str]) -> Composed:
    """Raises BadInput where there are fewer slides of a kind than the section wants, or the mpp is too fine for one."""
    real, generated = sources_of(section, run_dir, names)
    secret = secret_of(section.seed, (s.digest for s in [*real, *generated]))
    rng = rng_of(secret, "slides")
    chosen = []
    for kind, there in (("real", real), ("synthetic", generated)):
        if len(there) < section.each:
            hint = "lower `each`" + (", or set `real: all`" if kind == "real" and section.real != "all" else "")
            raise BadInput(
                f"{run_dir}: {len(there)} {kind} slide(s) to show, but the reader study wants {section.each}: {hint}"
            )
        chosen.append(rng.sample(there, section.each))
    real, generated = chosen
    mpp = section.mpp or max(source.finest_mpp for source in [*real, *generated])
    height, width = section.size_px or smallest_px(generated, mpp)
    slides, shifts = [], [at_random(rng) for _ in range(section.each)]
    for source, shift in zip(
        [*real, *generated], [*shifts, *rng.sample(shifts, section.each)]
    ):  # the same for both kinds
        scanners = scanners_of(real, source.kind == GENERATED, mpp)
        scanner = rng.choice(scanners) if scanners else None
        # Its grid is apart from the shift: moved with the window, it would lie at one place of the tissue in every slide.
        slides.append(DeepSlide(source, mpp, (height, width), shift, scanner, at_random(rng)))
    rng.shuffle(slides)
    options = {str(n): words for n, words in enumerate(CERTAINTY, start=1)}
    ask = "Is this slide real, or was it made by a computer? Zoom in as far as you like."
    part = Part("slides", "certainty", "Whole slides", ask, options)
    questions = [
        Question("slides", (n,), slide.source.kind, strata={}, about={"slide": slide.source.name, "mpp": mpp})
        for n, slide in enumerate(slides)
    ]
    return Composed(secret, [part], questions, slides, cut_notes(slides))


def at_random(rng: random.Random) -> tuple[int, int]:
    """A place of a codec's grid: px (y, x)."""
    return rng.randrange(GRID_PX), rng.randrange(GRID_PX)


def cut_notes(slides: Sequence[DeepSlide]) -> list[str]:
    """A line where tissue ends at the border on one kind of slide more often than on the other."""
    cut = {kind: sum(s.cut for s in slides if s.source.kind == kind) for kind in (REAL, GENERATED)}
    if cut[REAL] == cut[GENERATED]:
        return []
    each = len(slides) // 2
    return [
        f"tissue is cut at the border of {cut[REAL]} of {each} real slides and of {cut[GENERATED]} of {each} synthetic ones,"
        " which may tell them apart: choose `size_px` or slides so that both are cut as often"
    ]


def smallest_px(generated: Sequence[Source], mpp: float) -> tuple[int, int]:
    """Height and width that every synthetic slide fills at `mpp`."""
    sizes = [
        (s.height_um / served_mpp(mpp, s.finest_mpp), s.width_um / served_mpp(mpp, s.finest_mpp)) for s in generated
    ]
    height, width = (max(1, int(min(size[axis] for size in sizes) + 1e-6)) for axis in (0, 1))
    return height, width


# ------------------------------------------------------------------------------------------------ pairs


def pairs(section: Pairs, run_dir: Path, names: Sequence[str], levels: Sequence[float]) -> Composed:
    """levels: mpps of the synthetic slides' levels. Raises BadInput where there are too few crops with tissue."""
    real, generated = sources_of(section, run_dir, names)
    secret = secret_of(section.seed, (s.digest for s in [*real, *generated]))
    rng, questions = rng_of(secret, "pairs"), []
    files: list[bytes] = []
    for mpp in section.mpps or levels:
        places = [crop_places(sources, mpp, section, rng) for sources in (real, generated)]
        for kind, found in zip((REAL, GENERATED), places):
            if len(found) < section.each:
                raise BadInput(
                    f"{run_dir}: {len(found)} {kind} crops of {section.size_px} px at {mpp:g} mpp with"
                    f" {section.min_tissue:.0%} tissue, but the reader study wants {section.each}:"
                    f" lower `each`, `size_px` or `min_tissue`, or leave {mpp:g} out of `mpps`"
                )
        both = [
            [crop(place, section.size_px, mpp, scanners_of(real, kind == GENERATED, mpp), rng) for place in found]
            for kind, found in zip((REAL, GENERATED), matched(places[0][: section.each], places[1]))
        ]
        for left, real_one, generated_one in zip(sides(rng, section.each), *both):
            shown = (real_one, generated_one) if left else (generated_one, real_one)
            about = {"real": real_one[1], "synthetic": generated_one[1]}
            pictures = (len(files), len(files) + 1)
            files += [picture for picture, _ in shown]
            strata = {"mpp": f"{mpp:g}"}
            questions.append(Question("pairs", pictures, LEFT if left else RIGHT, strata=strata, about=about))
    rng.shuffle(questions)
    part = Part("pairs", "pick", "Pairs", "Which of the two pictures is from a real slide?", SIDES)
    return Composed(secret, [part], questions, files)


def matched(real: list[Place], generated: list[Place]) -> tuple[list[Place], list[Place]]:
    """For each real place the generated one with about as much tissue, none twice, so that the share of a pair says nothing."""
    apart = np.abs(np.subtract.outer([one.share for one in real], [one.share for one in generated]))
    rows, columns = linear_sum_assignment(apart)
    return [real[k] for k in rows], [generated[k] for k in columns]


def crop_places(sources: Sequence[Source], mpp: float, section: Pairs, rng: random.Random) -> list[Place]:
    """Places with tissue enough, of all sources that are fine and large enough, by turns; several times as many as are
    shown, if there are. At first they are apart from each other, and only then where there is room."""
    size_um = section.size_px * mpp
    fit = [s for s in sources if not is_finer(mpp, s.finest_mpp) and min(s.width_um, s.height_um) >= size_um * 0.97]
    found: list[Place] = []
    wanted, turns = CHOICE * section.each, TRIES * section.each if fit else 0
    for turn in range(turns):
        source = fit[turn % len(fit)]
        side_um = section.size_px * served_mpp(mpp, source.finest_mpp)
        x, y = (rng.random() * max(0.0, free - side_um) for free in (source.width_um, source.height_um))
        share = source.tissue_share(x, y, side_um)
        apart = all(p.source is not source or max(abs(x - p.x_um), abs(y - p.y_um)) > side_um / 2 for p in found)
        if share >= section.min_tissue and (apart or (turn > turns // 2 and len(found) < section.each)):
            found.append(Place(share, source, x, y))
        if len(found) == wanted:
            break
    return found


def crop(place: Place, size_px: int, mpp: float, scanners: Sequence[Scanner], rng: random.Random) -> tuple[bytes, dict]:
    source = place.source
    own = served_mpp(mpp, source.finest_mpp) if same_mpp(mpp, source.finest_mpp) else mpp
    x_um, y_um = (round(v / own) * own for v in (place.x_um, place.y_um))
    phase = at_random(rng)
    scanner = rng.choice(scanners) if scanners else None
    pixels = equal_picture(source, x_um, y_um, (size_px, size_px), own, scanner, phase)
    return as_file(pixels), {"slide": source.name, "x_um": round(x_um, 1), "y_um": round(y_um, 1)}


# ------------------------------------------------------------------------------------------------ survey


def survey(section: Survey, patches: Path, splits: Path, samples: Path) -> Composed:
    """Son's five parts. Raises BadInput where there are no two classes, or too few pictures of one."""
    shown = SurveyPictures(patches, splits, samples, section.seed)
    rng, classes = rng_of(shown.secret, "survey"), shown.classes
    named = {label: label for label in classes}
    parts = [
        Part("match-class", "pick", "1. Match the class", "Which picture is of this class?", SIDES),
        Part("name-class", "class", "2. Name the class", "Of which class is this picture?", named),
        Part("pick-generated", "pick", "3. Find the generated one", "Which of the two was made by a computer?", SIDES),
        Part(
            "origin",
            "origin",
            "4. Real or generated",
            "Is this picture real?",
            {REAL: "real", GENERATED: "made by a computer"},
        ),
        Part("rate", "rate", "5. Rate the picture", "This picture was made by a computer. How real is it?"),
    ]
    questions = []
    for n, left in enumerate(sides(rng, section.each)):
        one, other = classes[n % len(classes)], classes[(n + 1) % len(classes)]
        pictures = shown.take(GENERATED, one), shown.take(GENERATED, other)
        text = f"Which of the two is {one}?"
        questions.append(Question("match-class", *_pair(pictures, left), text, {"class": one}))
    for n in range(section.each):
        one = classes[n % len(classes)]
        questions.append(Question("name-class", (shown.take(GENERATED, one),), one, strata={"class": one}))
    for n, left in enumerate(sides(rng, section.each)):
        one = classes[n % len(classes)]
        pictures = shown.take(GENERATED, one), shown.take(REAL, one)
        text = f"Both are {one}. Which one was made by a computer?"
        questions.append(Question("pick-generated", *_pair(pictures, left), text, {"class": one}))
    for n in range(section.each):
        kind, one = (REAL, GENERATED)[n % 2], classes[n // 2 % len(classes)]
        text = f"This is {one}. Is it real, or made by a computer?"
        questions.append(Question("origin", (shown.take(kind, one),), kind, text, {"class": one, "is": kind}))
    for n in range(section.rated):
        one = classes[n % len(classes)]
        text = f"This picture of {one} was made by a computer. How real is it?"
        questions.append(Question("rate", (shown.take(GENERATED, one),), GENERATED, text, {"class": one}))
    rng.shuffle(questions)
    order = {part.name: n for n, part in enumerate(parts)}
    questions.sort(key=lambda question: order[question.part])
    return Composed(shown.secret, parts, questions, shown.files())


def _pair(pictures: tuple[int, int], left: bool) -> tuple[tuple[int, int], str]:
    """Two pictures, the first of which is the right answer, on the sides that are wanted."""
    return (pictures, LEFT) if left else (pictures[::-1], RIGHT)
