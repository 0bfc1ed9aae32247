"""The results that are committed in bench/results, and where they were measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["ROOT", "load", "where"]

ROOT = Path(__file__).resolve().parents[1]
_RESULTS = ROOT / "bench" / "results"


def where(document: dict[str, Any]) -> str:
    place = document["environment"]
    return f"{place['cpu']}, {place['date'][:10]}, commit {place['commit']}"


def load(name: str) -> dict[str, Any] | None:
    """Read a results file; None where it has not been measured."""
    path = _RESULTS / f"{name}.json"
    if not path.exists():
        return None
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document
