"""Reading configuration files: TOML into a typed model, with errors that name the file and the field."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import tomllib
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, ValidationInfo
from pydantic.fields import FieldInfo

from fluoropose.errors import FileFormatError

__all__ = ["Config", "ConfigPath", "fields_of", "read_toml", "table_of"]


class Config(BaseModel):
    """Base of every configuration: unknown keys are refused, values cannot be changed afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _beside_the_file(path: Path, info: ValidationInfo) -> Path:
    folder = (info.context or {}).get("folder", Path())
    return Path(folder) / path.expanduser()


ConfigPath = Annotated[Path, AfterValidator(_beside_the_file)]
"""A path in a configuration; relative ones are relative to the folder of the file they stand in."""

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
        raise FileFormatError(f"{path}: expected a TOML file: {error}") from error
    try:
        return model.model_validate(document, context={"folder": path.parent if folder is None else Path(folder)})
    except ValidationError as error:
        problems = "; ".join(_describe(entry, model) for entry in error.errors())
        raise FileFormatError(f"{path}: {problems}") from error


def _describe(problem: Any, model: type[BaseModel]) -> str:
    where = ".".join(str(part) for part in problem["loc"])
    if problem["type"] in ("extra_forbidden", "unexpected_keyword_argument"):  # of models and of dataclasses
        near = difflib.get_close_matches(str(problem["loc"][-1]), _fields_at(model, problem["loc"][:-1]), n=1)
        return f"{where}: unknown key" + (f", did you mean {near[0]!r}?" if near else "")
    if problem["type"] == "missing":
        return f"{where}: missing"
    message = str(problem["msg"]).removeprefix("Value error, ")
    found = "" if isinstance(problem["input"], dict) else f", found {problem['input']!r}"
    return f"{where}: {message}{found}" if where else f"{message}"


def _fields_at(model: type[Any], place: tuple[str | int, ...]) -> list[str]:
    """Return the keys of the table at ``place``."""
    for part in place:
        fields = fields_of(model)
        if isinstance(part, str) and part in fields:
            table = table_of(fields[part].annotation)
            model = model if table is None else table[0]
    return list(fields_of(model))
