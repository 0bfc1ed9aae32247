"""A configuration's TOML file with every key, its default and what its class's docstring says of it."""

from __future__ import annotations

import inspect
import json
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from fluoropose._toml import Config, fields_of, quoted, table_of

__all__ = ["toml_template"]

_WIDTH = 110


def toml_template(model: type[Config]) -> str:
    """Return a TOML file for ``model``: required keys are left to be filled in, the others begin with "#"."""
    return "\n".join(_section(model, "", False)).strip() + "\n"


def _section(model: type[Any], path: str, repeated: bool, introduced: bool = False) -> Iterator[str]:
    """Yield the lines of a table, then those of the tables in it; what it is has been said where it is introduced."""
    prose, described = _docstring(model)
    first, _, rest = prose.partition("\n\n")
    if introduced and ". " not in " ".join(first.split()):  # one sentence, which says what the table is
        prose = rest
    yield from _comment(prose)
    if path:
        yield f"[[{path}]]" if repeated else f"[{path}]"
    inner: list[tuple[str, type[Any], bool]] = []
    fields = fields_of(model)
    for name, field in fields.items():
        table = table_of(field.annotation)
        if table is not None:
            inner.append((f"{path}.{name}" if path else name, *table))
            continue
        about = described.pop(name, "")
        yield from ["", *_comment(about)] if about else []
        yield _entry(name, field)
    for place, table_model, many in inner:
        yield ""
        name = place.rpartition(".")[2]
        about = described.get(name, "")
        yield from _comment(about)
        lines = list(_section(table_model, place, many, introduced=bool(about)))
        optional = many or not fields[name].is_required()
        yield from (f"#{line}" if optional and line and not line.startswith("#") else line for line in lines)


def _entry(name: str, field: FieldInfo) -> str:
    kind = _kind(field.annotation)
    if field.is_required():
        return f"{name} =  # required: {kind}"
    default = field.get_default(call_default_factory=True)
    return f"#{name} =  # {kind}" if default is None else f"#{name} = {_value(default)}"


def _comment(text: str) -> Iterator[str]:
    for paragraph in text.split("\n\n"):
        if paragraph.strip():
            yield from textwrap.wrap(" ".join(paragraph.split()), _WIDTH, initial_indent="# ", subsequent_indent="# ")


def _docstring(model: type[Any]) -> tuple[str, dict[str, str]]:
    """Split a numpydoc docstring into its prose and what it says of each attribute; the first of a group has all.

    What a base class says of its attributes counts too.
    """
    prose, described = "", {}
    for base in reversed(model.__mro__):
        prose, _, attributes = inspect.cleandoc(base.__doc__ or "").partition("\nAttributes\n----------\n")
        for names, text in re.findall(r"^(\S.*)\n((?:(?:    .*)?(?:\n|$))+)", attributes + "\n", re.MULTILINE):
            first, *others = names.split(", ")
            about = textwrap.dedent(text).strip()
            described[first] = f"{names}: {about}" if others else about
    return prose.replace("``", '"'), {name: text.replace("``", '"') for name, text in described.items()}


def _kind(annotation: Any) -> str:
    """Return in words what a value is."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kind(parts[0])
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(_kind(part) for part in parts if part is not NoneType))
    if origin is Literal:
        return " or ".join(json.dumps(part) for part in parts)
    if origin in (tuple, list):
        inside = dict.fromkeys(_kind(part) for part in parts if part is not Ellipsis)
        count = "" if Ellipsis in parts or origin is list else f"{len(parts)} of "
        return f"[{count}{', '.join(inside)}]"
    words = {Path: "file or folder", str: "text", int: "whole number", float: "number", bool: "true or false"}
    return words.get(annotation, str(getattr(annotation, "__name__", annotation)))


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{key} = {_value(entry)}' for key, entry in value.items())} }}"
    return quoted(value) if isinstance(value, (str, Path)) else repr(value)
