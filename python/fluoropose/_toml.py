"""Reading configuration files: TOML into a typed model, with errors that name the file and the field."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import json
import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, ValidationInfo
from pydantic.fields import FieldInfo

from fluoropose.errors import ConfigError, FileFormatError

__all__ = ["Config", "ConfigPath", "OutputPath", "fields_of", "quoted", "read_toml", "require_inputs", "table_of"]

# What a key's value should have been, by pydantic's name for what is wrong with it.
_EXPECTED = {
    "tuple_type": "a list",
    "list_type": "a list",
    "too_short": "a list of at least {min_length}",
    "too_long": "a list of at most {max_length}",
    "model_type": "a table",
    "dataclass_type": "a table",
    "dict_type": "a table",
    "literal_error": "{expected}",
    "path_type": "a file or folder, in quotes",
    "string_type": "text in quotes",
    "string_too_short": "at least {min_length} character",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "greater_than": "a number greater than {gt:g}",
    "greater_than_equal": "a number of at least {ge:g}",
    "less_than": "a number less than {lt:g}",
    "less_than_equal": "a number of at most {le:g}",
}


class Config(BaseModel):
    """Base of every configuration: unknown keys are refused, values cannot be changed afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _beside_the_file(path: Path, info: ValidationInfo) -> Path:
    folder = (info.context or {}).get("folder", Path())
    return Path(folder) / path.expanduser()


ConfigPath = Annotated[Path, AfterValidator(_beside_the_file)]
"""A path in a configuration; relative ones are relative to the folder of the file they stand in."""

_OUTPUT = object()
OutputPath = Annotated[ConfigPath, _OUTPUT]
"""A ``ConfigPath`` of what is written, which need not exist."""

C = TypeVar("C", bound=Config)


def table_of(annotation: Any) -> tuple[type[Any], bool] | None:
    """Return the model (or dataclass) of a nested table, and whether there may be several."""
    if get_origin(annotation) is Annotated:
        return table_of(get_args(annotation)[0])
    if inspect.isclass(annotation) and (issubclass(annotation, Config) or dataclasses.is_dataclass(annotation)):
        return annotation, False
    for part in get_args(annotation):
        found = table_of(part)
        if found is not None:
            return found[0], get_origin(annotation) in (tuple, list) or found[1]
    return None


def fields_of(table: type[Any]) -> dict[str, FieldInfo]:
    """Return the fields of a model or dataclass by their names."""
    if issubclass(table, BaseModel):
        return table.model_fields
    hints = get_type_hints(table)
    return {f.name: FieldInfo.from_annotated_attribute(hints[f.name], f.default) for f in dataclasses.fields(table)}


def read_toml(path: str | Path, model: type[C], folder: str | Path | None = None) -> C:
    """Read a TOML file into ``model``; its relative paths start at ``folder``, by default the file's own.

    Raises
    ------
    FileFormatError
        If the file cannot be read, is not TOML, or a field is missing, unknown or wrong; all of these are listed.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            document = tomllib.load(file)
    except OSError as error:
        raise FileFormatError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FileFormatError(f"{path}: {_unreadable(path, error)}") from error
    try:
        return model.model_validate(document, context={"folder": path.parent if folder is None else Path(folder)})
    except ValidationError as error:
        raise FileFormatError(f"{path}: {'; '.join(_described(error, model))}") from error


def quoted(text: object) -> str:
    """Return ``text`` as a string of TOML, in quotes."""
    # A string of JSON is one of TOML, but for the delete character.
    return json.dumps(str(text), ensure_ascii=False).replace("\x7f", "\\u007f")


def require_inputs(config: Config, *unused: str) -> None:
    """Raise ConfigError that names every key, but for those ``unused``, whose file or folder does not exist."""
    inputs = [(key, path) for key, path in _inputs(config, "") if key not in unused]
    missing = [f"{key}: {path} does not exist" for key, path in inputs if not path.exists()]
    if missing:
        raise ConfigError("; ".join(missing))


def _inputs(value: Any, key: str) -> Iterator[tuple[str, Path]]:
    if isinstance(value, Path):
        yield key, Path(os.path.normpath(value))
    elif isinstance(value, tuple):
        for one in value:
            yield from _inputs(one, key)
    elif isinstance(value, Config):
        for name, field in type(value).model_fields.items():
            if _OUTPUT not in field.metadata:
                yield from _inputs(getattr(value, name), f"{key}.{name}" if key else name)


def _unreadable(path: Path, error: ValueError) -> str:
    """Return why a file is no TOML; of a template, which keys are still to be filled in."""
    empty, table = [], ""
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        if heading := re.match(r"\s*\[+([\w.]+)\]+", line):
            table = f"{heading[1]}."
        elif key := re.match(r"\s*([\w.]+)\s*=\s*(#|$)", line):
            empty.append(f"{table}{key[1]} (line {number})")
    return f"no value yet for {', '.join(empty)}" if empty else f"expected a TOML file: {error}"


def _described(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """Return what is wrong, once per key: where a value may be of several kinds, pydantic tells of each."""
    places: dict[str, tuple[list[str], Any]] = {}
    told = []
    for problem in error.errors():
        kind = next((i for i, part in enumerate(problem["loc"]) if re.match(r"(tuple\[|str$)", str(part))), None)
        where = ".".join(str(part) for part in problem["loc"][:kind])
        words = _EXPECTED.get(problem["type"])
        if problem["type"] == "missing" and isinstance(problem["loc"][-1], int):  # in a list
            where, words = where.removesuffix(f".{problem['loc'][-1]}"), "a longer list"
        if words is None:
            told.append(_otherwise(problem, where, model))
        else:
            expected, _ = places.setdefault(where, ([], problem["input"]))
            expected.append(words.format(**problem.get("ctx", {})))
    for where, (expected, found) in places.items():
        shown = "a table" if isinstance(found, dict) else repr(found)
        told.append(f"{where}: expected {' or '.join(dict.fromkeys(expected))}, found {shown}")
    return told


def _otherwise(problem: Any, where: str, model: type[BaseModel]) -> str:
    if problem["type"] in ("extra_forbidden", "unexpected_keyword_argument"):  # of models and of dataclasses
        near = difflib.get_close_matches(str(problem["loc"][-1]), _fields_at(model, problem["loc"][:-1]), n=1)
        return f"{where}: unknown key" + (f", did you mean {near[0]!r}?" if near else "")
    if problem["type"] == "missing":
        return f"{where}: missing"
    message = str(problem["msg"]).removeprefix("Value error, ")
    found = "" if isinstance(problem["input"], dict) else f", found {problem['input']!r}"
    return f"{where}: {message}{found}" if where else message


def _fields_at(model: type[Any], place: tuple[str | int, ...]) -> list[str]:
    """Return the keys of the table at ``place``."""
    for part in place:
        fields = fields_of(model)
        if isinstance(part, str) and part in fields:
            table = table_of(fields[part].annotation)
            model = model if table is None else table[0]
    return list(fields_of(model))
