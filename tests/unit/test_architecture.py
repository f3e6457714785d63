"""The shape of the house: arrows run one way, every module says what it is, none grows too long."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[2]
LONGEST_MODULE_LINES = 400
PARTS = ("pipeline", "platforms", "audit", "alerting")
ALLOWED = {
    "domain": set[str](),
    "telemetry": {"domain"},
    "store": {"domain", "telemetry"},
    **{part: {"store", "domain", "telemetry", *PARTS} for part in PARTS},
}
"""For each folder those that its modules may import. What stands beside the folders puts them together."""


def python_files(*folders: str) -> list[Path]:
    return sorted(chain.from_iterable((ROOT / folder).rglob("*.py") for folder in folders))


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


MODULES = python_files("monitor", "dashboards")
OURS = [path for path in MODULES if "migrations/versions" not in str(path)]


def imported_names(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("folder", ALLOWED)
def test_arrows_run_one_way(folder: str) -> None:
    for path in python_files(f"monitor/{folder}"):
        for name in imported_names(path):
            package, _, rest = name.partition(".")
            target = rest.split(".")[0]
            if package == "monitor" and target != folder:
                assert target in ALLOWED[folder] | {"__version__"}, f"{name_of(path)} imports {name}"


def test_only_the_store_speaks_sql() -> None:
    for path in MODULES:
        if path.is_relative_to(ROOT / "monitor" / "store"):
            continue
        used = [name for name in imported_names(path) if name.startswith("sqlalchemy")]
        assert set(used) <= ENGINE_NAMES, name_of(path)


ENGINE_NAMES = {"sqlalchemy.Engine", "sqlalchemy.exc.SQLAlchemyError"}
"""A connection to hand on, and its errors: no SQL."""


def test_there_are_no_circles() -> None:
    graph = grimp.build_graph("monitor")
    for module in graph.modules:
        for imported in graph.find_modules_directly_imported_by(module):
            back = graph.find_shortest_chain(importer=imported, imported=module)
            assert back is None, f"{module} and {imported} import each other: {back}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_every_module_says_what_it_is(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", OURS, ids=name_of)
def test_no_module_that_does_something_is_long(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    does_something = any(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) for node in ast.walk(ast.parse(text)))
    assert len(text.splitlines()) <= LONGEST_MODULE_LINES or not does_something


@pytest.mark.parametrize("path", python_files("monitor", "dashboards", "tests"), ids=name_of)
def test_nothing_silences_a_tool_without_its_reason(path: Path) -> None:
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        for silencer in ("# noqa", "# type: ignore"):
            before, found, after = line.partition(silencer)
            if found and before.count('"') % 2 == 0:
                assert " - " in after or "  # " in after, f"{name_of(path)}:{number} has no reason"
