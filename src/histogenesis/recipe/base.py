"""What all sections of a recipe are made of."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from functools import cache
from typing import Annotated, Any, cast, get_type_hints

from pydantic import BaseModel, ConfigDict, Discriminator, Field
from pydantic.fields import FieldInfo

NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"
Name = Annotated[str, Field(pattern=NAME)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Mpp = Annotated[float, Field(gt=0.01, lt=1000, description="micrometres per pixel")]
# Marks a key on which no byte of a result depends: changed, it makes nothing run again (identity.py), and holds from then on.
NO_BYTES = Field(json_schema_extra={"bears_on_bytes": False})


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def is_section(kind: Any) -> bool:
    """Whether a class is a section of a recipe: a model, or a dataclass of the canvas, which knows no pydantic."""
    return isinstance(kind, type) and (issubclass(kind, BaseModel) or is_dataclass(kind))


@cache
def keys_of(section: type) -> dict[str, FieldInfo]:
    """The keys of a section, each with its type, default and description."""
    if issubclass(section, BaseModel):
        return section.model_fields
    types = get_type_hints(section, include_extras=True)
    return {one.name: FieldInfo.from_annotated_attribute(types[one.name], one) for one in fields(cast(Any, section))}


class White(Section):
    """What is too white to be worth a network's time."""

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
