"""A step as a command: `python workflow/scripts/NAME.py --patches ... --out ...`, made of the step's signature and docstring.

`min_tissue: float = 0.1` is the option `--min-tissue`, and one without a default must be given. What it takes follows from its
type: a text, number or path, one of some words (Literal), as many as a tuple has; a bool is a flag. Anything else is a section
of the recipe: JSON, or `RECIPE#place`, where it stands (recipe/identity.py), checked against its class before the step begins.
The docstring's line `min_tissue: ...` is its help.

What a step writes follows from the values that it is given and from its own code, so this module is no part of a code digest
(provenance/digests.py).
"""

from __future__ import annotations

import argparse
import inspect
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from histogenesis.core.errors import BadInput, DiskFull
from histogenesis.core.interrupt import Stopped, end_stopped
from histogenesis.core.malloc import keep_freed_memory
from histogenesis.recipe.identity import section_text

PLAIN = (str, int, float, Path)


def run(step: Callable[..., object]) -> None:
    """Call a step with what the command line says, and end as a command does: what a user can mend is one line, exit code 1."""
    arguments = parser_of(step).parse_args()
    keep_freed_memory()
    try:
        step(**vars(arguments))
    except (BadInput, DiskFull) as error:
        sys.exit(f"error: {error}")
    except Stopped as stopped:
        end_stopped(stopped)


def parser_of(step: Callable[..., object]) -> argparse.ArgumentParser:
    """The command line of a step. Raises KeyError for a parameter that its docstring does not describe."""
    description, helps = described(step)
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    types = get_type_hints(step, include_extras=True)
    for name, parameter in inspect.signature(step).parameters.items():
        option: dict[str, Any] = taking(types[name])
        text = helps[name].replace("%", "%%")
        if parameter.default is parameter.empty:
            option["required"] = True
        else:
            option["default"] = parameter.default
            shown = isinstance(parameter.default, PLAIN) and not isinstance(parameter.default, bool)
            text += " (default: %(default)s)" if shown and parameter.default != "" else ""
        parser.add_argument(f"--{name.replace('_', '-')}", help=text, **option)
    return parser


def described(step: Callable[..., object]) -> tuple[str, dict[str, str]]:
    """A docstring without, and by name, the lines that say what its parameters are; a line that goes on is indented."""
    names = inspect.signature(step).parameters
    rest: list[str] = []
    helps: dict[str, str] = {}
    name = ""
    for line in (inspect.getdoc(step) or "").splitlines():
        start = re.match(r"(\w+): (.*)", line)
        if start and start[1] in names:
            name = start[1]
            helps[name] = start[2]
        elif name and line.startswith("  "):
            helps[name] += f" {line.strip()}"
        else:
            name = ""
            rest.append(line)
    return "\n".join(rest).strip(), helps


def taking(kind: Any) -> dict[str, Any]:
    """What argparse is told of a parameter of this type."""
    if get_origin(kind) in (Union, UnionType) and NoneType in get_args(kind):
        kind = Union[tuple(one for one in get_args(kind) if one is not NoneType)]  # noqa: UP007 (of a tuple)
    if kind is bool:
        return {"action": "store_true"}
    if kind in PLAIN:
        return {"type": kind}
    if get_origin(kind) is Literal:
        return {"choices": get_args(kind)}
    if get_origin(kind) is tuple and set(get_args(kind)) <= set(PLAIN):
        return {"type": get_args(kind)[0], "nargs": len(get_args(kind)), "action": AsTuple}
    if get_origin(kind) is Sequence and get_args(kind)[0] in PLAIN:
        return {"type": get_args(kind)[0], "nargs": "*"}
    adapter = TypeAdapter(kind)

    def section(text: str) -> Any:
        try:
            return adapter.validate_json(section_text(text))
        except ValidationError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return {"type": section, "metavar": "SECTION"}


class AsTuple(argparse.Action):
    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        setattr(namespace, self.dest, tuple(values))
