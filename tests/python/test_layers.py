"""Dependencies point one way, as the tables in CONTRIBUTING.md say."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[2]
_PYTHON = _ROOT / "python" / "fluoropose"
_CPP = _ROOT / "cpp" / "fluoropose"
_HEAVY = {"torch", "lightning", "monai"}


def layers(heading: str) -> dict[str, int]:
    """Row number of every part in the table that follows ``heading`` in CONTRIBUTING.md."""
    text = (_ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    table = text.split(heading, 1)[1].split("|---|---|\n", 1)[1].split("\n\n", 1)[0]
    rows = [re.findall(r"`(\w+)`", line.split("|")[1]) for line in table.splitlines()]
    return {part: number for number, parts in enumerate(rows) for part in parts}


def part_of(path: Path, folder: Path) -> str:
    return path.relative_to(folder).with_suffix("").parts[0]


def imported(source: str) -> set[str]:
    """Dotted names of all modules that Python source imports, also inside functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, "relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def violations(path: Path, used: set[str], layer: dict[str, int], folder: Path) -> list[str]:
    own = part_of(path, folder)
    return [
        f"{path.relative_to(_ROOT)}: {own} must not use {part}"
        for part in sorted(used)
        if part != own and layer[part] >= layer[own]
    ]


def test_python_imports_point_one_way() -> None:
    layer = layers("`python/fluoropose/`:")
    found: list[str] = []
    for path in sorted(_PYTHON.rglob("*.py")):
        if path == _PYTHON / "__init__.py":
            continue
        names = [name.split(".") for name in imported(path.read_text(encoding="utf-8"))]
        used = {parts[1] for parts in names if parts[0] == "fluoropose" and parts[1] != "__version__"}
        found += violations(path, used, layer, _PYTHON)
        if layer[part_of(path, _PYTHON)] < layer["learning"] and path.stem != "autograd":
            found += [f"{path.relative_to(_ROOT)} imports {parts[0]}" for parts in names if parts[0] in _HEAVY]
    assert found == []


def test_cpp_includes_point_one_way() -> None:
    layer = layers("`cpp/fluoropose/`:")
    found: list[str] = []
    for path in sorted([*_CPP.rglob("*.h"), *_CPP.rglob("*.cc")]):
        used = set(re.findall(r'#include "fluoropose/(\w+)/', path.read_text(encoding="utf-8")))
        found += violations(path, used, layer, _CPP)
    assert found == []


def test_every_part_stands_in_exactly_one_row() -> None:
    python = {part_of(path, _PYTHON) for path in _PYTHON.rglob("*.py")} - {"__init__", "_core"}
    assert python <= layers("`python/fluoropose/`:").keys()
    cpp = {part_of(path, _CPP) for path in _CPP.rglob("*.h")}
    assert cpp <= layers("`cpp/fluoropose/`:").keys()


@pytest.mark.parametrize(("used", "allowed"), [("errors", True), ("geometry", True), ("bone", False), ("cli", False)])
def test_the_check_sees_a_wrong_import(used: str, allowed: bool) -> None:
    names = imported(f"def later():\n    from fluoropose.{used} import anything\n")
    parts = {name.split(".")[1] for name in names}
    assert (violations(_PYTHON / "rig.py", parts, layers("`python/fluoropose/`:"), _PYTHON) == []) == allowed
