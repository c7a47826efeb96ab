"""What all sections of a recipe are made of."""

from __future__ import annotations

import warnings
from dataclasses import MISSING, asdict, fields, is_dataclass
from typing import Annotated, Any, cast, get_type_hints

from pydantic import BaseModel, ConfigDict, Discriminator, Field, create_model, model_validator

NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"
Name = Annotated[str, Field(pattern=NAME)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Mpp = Annotated[float, Field(gt=0.01, lt=1000, description="micrometres per pixel")]
# Marks a key on which no byte of a result depends: changed, it makes nothing run again (identity.py), and holds from then on.
NO_BYTES = Field(json_schema_extra={"bears_on_bytes": False})


# Keys of earlier versions -> their names now, in sections that have a key of that name. A recipe's checks say so.
RENAMED = {
    "levels": "timestep_spacing",  # of a sampler
    "told": "noise_cond",
    "codes": "codebook_size",
    "white": "skip_background",
    "judge": "enabled",  # this and the next three: of the evaluation
    "repeats": "n_resamples",
    "splits": "n_folds",
    "shown": "n_shown",
    "utility": "tstr",  # of the evaluation and of samples
}


class Section(BaseModel):
    # Defaults too: 500_000 of a key that is a float is 500000.0, as when a job reads the recipe of the run; or digests differ.
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


def section_of(keys: type, **more: Any) -> type[Section]:
    """A section with the keys of a frozen dataclass that lies beside what it describes (canvas/constraints, canvas/joinings).

    It is of that class too. Descriptions and bounds are the metadata of its fields; more: sections for keys of such classes.
    `__post_init__` checks what is read.
    """
    hints, values = get_type_hints(keys), {}
    for one in fields(keys):
        default = ... if one.default is MISSING else one.default
        if one.default_factory is not MISSING:
            default = one.default_factory()
        if one.name in more and is_dataclass(default):
            default = more[one.name](**asdict(cast(Any, default)))
        values[one.name] = more.get(one.name, hints[one.name]), Field(default, **one.metadata)
    checks = {}
    if hasattr(keys, "__post_init__"):
        checks["checked"] = model_validator(mode="after")(_checked)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a field's default shadows the same one of the dataclass
        return cast(Any, create_model)(
            keys.__name__, __base__=(Section, keys), __doc__=keys.__doc__, __validators__=checks, **values
        )


def _checked(section: Any) -> Any:
    section.__post_init__()
    return section


class SkipBackground(Section):
    """What is too white, as glass is, to be worth a network's time."""

    share: Fraction = Field(0.5, description="pictures with a larger share of white pixels are left out")
    above: int = Field(220, ge=0, le=255, description="a pixel is white if its three colours are all brighter")


class RecipeError(ValueError):
    """A recipe that cannot be run, in words that name the key and the remedy."""


def by_kind(default: str, *others: str) -> Discriminator:
    """Tells sections apart by their key `kind`, which may be left out for `default`."""
    return Discriminator(
        lambda section: (
            section.get("kind", default) if isinstance(section, dict) else getattr(section, "kind", default)
        ),
        custom_error_type="unknown_kind",
        custom_error_message=f"no such kind; there are {', '.join([default, *others])}",
    )
