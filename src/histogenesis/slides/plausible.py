"""Which mpp a slide has, and whether it can be: what tags say is weighed against the objective and the size of glass."""

from __future__ import annotations

from pathlib import Path

from histogenesis.core.errors import BadInput
from histogenesis.core.geometry import mm_of

COARSEST_MPP = 100.0  # a light microscope's slide has no pixels wider than this
FINEST_MPP = 0.01
RESOLVED_MPP = 0.08  # tags that say less than this are wrong: 100 x, oil, gives 0.1
SQUARE = 0.01  # relative difference of mpp-x and mpp-y up to which pixels count as square
PRINT_DPI = (72, 75, 96, 100, 120, 144, 150, 200, 240, 300, 350, 400, 600, 1200, 2400, 4800)
LONGEST_MM = 155.0  # of glass: the largest slides, for whole mounts, are 152 mm
UM_OF_OBJECTIVE = 10.0  # mpp times magnification, nearly, on every scanner: 0.25 at 40
CONTRADICTS, ODD = 3.0, 2.2  # factors: refused; worth a warning
NO_MPP = "give it in the `mpp` column of the slide table (micrometres per pixel of the full resolution, such as 0.25)"


def find_mpp(
    path: Path,
    stated: tuple | None,
    given: float | None,
    objective: float | None,
    size_px: tuple[int, int],
    trusted: bool = False,
) -> tuple[float, list[str]]:
    """The mpp of a slide, and warnings. stated: along x and y, as the file has them (texts, numbers or None); given: what the
    slide table says, which wins; objective: its magnification; size_px: width and height; trusted: what this program wrote,
    whose tags are taken as they are.

    Raises BadInput if there is none, if it cannot be (absurd, not square, a printer's, of a slide that no glass holds), and if
    what is given contradicts a file that is itself plausible.
    """
    try:
        own, problem = _own(path, stated, objective, size_px, trusted), None
    except BadInput as error:
        own, problem = None, error
    if given is None:
        if problem:
            raise problem
        return own, _oddness(own, objective)
    _check_range(path, given)
    _check_glass(path, given, size_px)
    expected = own or (UM_OF_OBJECTIVE / objective if objective else None)
    if expected and not 1 / CONTRADICTS <= given / expected <= CONTRADICTS:
        says = f"the file says {own:g}" if own else f"its objective of {objective:g} x makes it about {expected:g}"
        hint = f" (is {given:g} the magnification? That would be {UM_OF_OBJECTIVE / given:g} mpp)" if given >= 2 else ""
        raise BadInput(
            f"{path}: the slide table gives an mpp of {given:g}, and {says}{hint}: correct the `mpp` column, or leave it empty"
            " to take the file's own"
        )
    return float(given), _oddness(given, objective)


def _own(path: Path, stated: tuple | None, objective: float | None, size_px: tuple[int, int], trusted: bool) -> float:
    """The mpp that the file itself states."""
    try:
        x, y = (float(value) for value in stated or (None,))
    except (TypeError, ValueError):
        raise BadInput(f"{path}: the file does not say its mpp: {NO_MPP}") from None
    _check_range(path, x)
    _check_range(path, y)
    if abs(x - y) > SQUARE * max(x, y):
        raise BadInput(
            f"{path}: its pixels are not square ({x:g} x {y:g} mpp): resample the slide, or, if that is an"
            " error of the file, give the true mpp in the `mpp` column of the slide table"
        )
    own = (x + y) / 2
    if trusted:
        return own
    dpi = 25_400 / own
    if any(abs(dpi / printed - 1) < 1e-3 for printed in PRINT_DPI):
        raise BadInput(
            f"{path}: its tags say {own:.4g} mpp, which is {dpi:.0f} dots per inch, a resolution for printing, and would make"
            f" the slide {mm_of(size_px[0], own):.0f} x {mm_of(size_px[1], own):.0f} mm: {NO_MPP}"
        )
    if own < RESOLVED_MPP:
        raise BadInput(f"{path}: its tags say {own:g} mpp, finer than any objective resolves: {NO_MPP}")
    _check_glass(path, own, size_px)
    if objective and not 1 / CONTRADICTS <= own * objective / UM_OF_OBJECTIVE <= CONTRADICTS:
        raise BadInput(
            f"{path}: its tags say {own:g} mpp and an objective of {objective:g} x, which has about"
            f" {UM_OF_OBJECTIVE / objective:g}: one of them is wrong; {NO_MPP}"
        )
    return own


def _check_range(path: Path, mpp: float) -> None:
    if not (FINEST_MPP <= mpp <= COARSEST_MPP):
        raise BadInput(f"{path}: an mpp of {mpp:g} cannot be ({FINEST_MPP:g} to {COARSEST_MPP:g} can): {NO_MPP}")


def _check_glass(path: Path, mpp: float, size_px: tuple[int, int]) -> None:
    width, height = (mm_of(n, mpp) for n in size_px)
    if max(width, height) > LONGEST_MM:
        raise BadInput(
            f"{path}: at {mpp:g} mpp the slide would be {width:.0f} x {height:.0f} mm, and no glass is so large: {NO_MPP}"
        )


def _oddness(mpp: float, objective: float | None) -> list[str]:
    if not objective or 1 / ODD <= mpp * objective / UM_OF_OBJECTIVE <= ODD:
        return []
    expected = UM_OF_OBJECTIVE / objective
    return [f"{mpp:g} mpp with an objective of {objective:g} x, which has about {expected:g}: is the mpp right?"]
