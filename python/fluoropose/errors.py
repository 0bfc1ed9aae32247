"""The exceptions fluoropose raises for bad input; each message names what was found and what was expected."""

from __future__ import annotations

__all__ = ["ConfigError", "FileFormatError", "FluoroposeError", "InputError", "first_line"]


class FluoroposeError(Exception):
    """Base of every error that fluoropose raises on purpose."""


class InputError(FluoroposeError, ValueError):
    """An argument has the wrong shape, type, range or meaning; the message names the argument."""


class FileFormatError(FluoroposeError, ValueError):
    """A file cannot be read, or holds something else than expected; the message names the file and the field."""


class ConfigError(FileFormatError, InputError):
    """A configuration's key does not fit files or other settings; the message begins with the key.

    The command line puts the file's name before it.
    """


def first_line(error: Exception) -> str:
    """Return what an error says on its first line, or what it is; of the system's errors neither number nor file."""
    told = error.strerror if isinstance(error, OSError) else None
    said = (told or str(error)).strip().splitlines()
    return said[0] if said else type(error).__name__
