"""Reading configuration files: TOML into a typed model, with errors that name the file and the field."""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, ValidationInfo

from fluoropose.errors import FileFormatError

__all__ = ["Config", "ConfigPath", "read_toml"]


class Config(BaseModel):
    """Base of every configuration: unknown keys are refused, values cannot be changed afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _beside_the_file(path: Path, info: ValidationInfo) -> Path:
    folder = (info.context or {}).get("folder", Path())
    return Path(folder) / path.expanduser()


ConfigPath = Annotated[Path, AfterValidator(_beside_the_file)]
"""A path in a configuration; relative ones are relative to the folder of the file they stand in."""

C = TypeVar("C", bound=Config)


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
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(problem["loc"][-1]), _fields(model), n=1)
        return f"{where}: unknown key" + (f", did you mean {near[0]!r}?" if near else "")
    if problem["type"] == "missing":
        return f"{where}: missing"
    message = str(problem["msg"]).removeprefix("Value error, ")
    found = "" if isinstance(problem["input"], dict) else f", found {problem['input']!r}"
    return f"{where}: {message}{found}" if where else f"{message}"


def _fields(model: type[BaseModel]) -> list[str]:
    names: list[str] = []
    for name, field in model.model_fields.items():
        names.append(name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            names += _fields(field.annotation)
    return names
