"""The documentation: nothing that exists is missing from it, and nothing stands in it that does not exist."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import typer.main
from fastapi import APIRouter
from starlette.routing import Route, WebSocketRoute

from monitor import web
from monitor.cli import app
from monitor.domain.intake import ALIASES
from monitor.domain.vocabulary import Outcome, Reason, Stage, Window
from monitor.settings import CLIENT_VARIABLES, PREFIX, reference
from monitor.telemetry import catalogue
from monitor.telemetry.tracing import DEFAULT_RATIO

ROOT = Path(__file__).parents[2]
DOCS = {path.name: path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md"))}
PAGES = {**DOCS, "README.md": (ROOT / "README.md").read_text(encoding="utf-8")}
METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH")


def command_words(group: Any, words: tuple[str, ...] = ("booking-monitor",)) -> Iterator[str]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from command_words(command, (*words, name))
        else:
            yield " ".join((*words, name))


def served_routes() -> Iterator[str]:
    """Method and path of every route."""
    for found in pkgutil.walk_packages(web.__path__, f"{web.__name__}."):
        module = importlib.import_module(found.name)
        for route in chain.from_iterable(one.routes for one in vars(module).values() if isinstance(one, APIRouter)):
            if isinstance(route, Route):
                yield from (f"{method} {route.path}" for method in route.methods or () if method != "HEAD")
            elif isinstance(route, WebSocketRoute):
                yield f"GET {route.path}"


COMMANDS = set(command_words(typer.main.get_group(app)))


def test_every_command_is_in_the_docs_and_no_other() -> None:
    documented = set(re.findall(r"^\| `(booking-monitor [a-z-]+(?: [a-z-]+)?)` \|", DOCS["commands.md"], re.MULTILINE))
    assert documented == COMMANDS


@pytest.mark.parametrize("page", PAGES)
def test_no_page_names_a_command_that_does_not_exist(page: str) -> None:
    for words in re.findall(r"booking-monitor ([a-z][a-z-]+(?: [a-z-]+)?)(?=[ `\n])", _code(PAGES[page])):
        assert any(f"booking-monitor {words} ".startswith(f"{command} ") for command in COMMANDS), words


def test_every_route_is_in_the_docs_and_no_other() -> None:
    documented = set(re.findall(rf"`((?:{'|'.join(METHODS)}) /[^` ?]*)`", DOCS["http-api.md"]))
    assert documented - {"GET /openapi.json"} == {*served_routes(), "POST /v1/bookings"}


def test_every_setting_is_in_the_docs_and_no_other_is_named_anywhere() -> None:
    settings = {name for name, _, _ in reference()}
    known = settings | set(CLIENT_VARIABLES) | {f"{name}_FILE" for name in settings}
    assert all(f"`{name}`" in DOCS["settings.md"] for name in settings)
    for page, text in PAGES.items():
        assert set(re.findall(rf"{PREFIX}[A-Z_]*[A-Z]", text)) <= known, page


def test_every_metric_is_in_the_docs_and_no_other_is_named_anywhere() -> None:
    metrics = {spec.name for spec in (*catalogue.LEDGER, *catalogue.PROCESS)}
    assert all(f"`{name}`" in DOCS["metrics.md"] for name in metrics)
    for page, text in PAGES.items():
        assert set(re.findall(r"\bbooking_[a-z_]*[a-z]", text)) - NO_METRICS <= metrics, page


NO_METRICS = {"booking_id", "booking_received", "booking_monitor_url"}


def test_every_log_event_of_a_booking_is_in_the_docs_with_its_level_and_no_other() -> None:
    rows = re.findall(r"^\| `([a-z_]+\.[a-z_]+)` \| ([a-z]+) \|", DOCS["operating.md"], re.MULTILINE)
    assert len(rows) == len(set(rows))
    assert set(rows) == {(name, level) for name, level in logged_events() if name.partition(".")[0] in TOLD_OF_BOOKINGS}


TOLD_OF_BOOKINGS = {"booking", "chat_room", "notification", "push", "realtime", "stage"}


def logged_events() -> Iterator[tuple[str, str]]:
    """Name and level of every event that the code logs; a name may be chosen from a dictionary of its module."""
    for path in (ROOT / "monitor").rglob("*.py"):
        module = ast.parse(path.read_text(encoding="utf-8"))
        dictionaries: dict[str, ast.AST] = {
            target.id: values
            for statement in module.body
            if isinstance(statement, ast.Assign) and isinstance(values := statement.value, ast.Dict)
            for target in statement.targets
            if isinstance(target, ast.Name)
        }
        for call in ast.walk(module):
            match call:
                case ast.Call(func=ast.Attribute(value=ast.Name(id="log"), attr=level), args=[event]):
                    yield from ((name, level) for name in texts_in(event, dictionaries))


def texts_in(expression: ast.AST, dictionaries: dict[str, ast.AST]) -> Iterator[str]:
    """The texts that an expression may yield."""
    for node in ast.walk(expression):
        match node:
            case ast.Constant(value=str(text)):
                yield text
            case ast.Name(id=name) if name in dictionaries:
                yield from texts_in(dictionaries[name], {})


def test_the_share_of_traces_that_is_sampled_by_default_is_in_the_docs() -> None:
    assert f"{100 * DEFAULT_RATIO:g} % of the traces that begin here are sampled" in DOCS["operating.md"]


@pytest.mark.parametrize("words", [Stage, Outcome, Reason, Window])
def test_every_word_of_the_ledger_is_explained(words: Any) -> None:
    for word in words:
        assert f"`{word.value}`" in DOCS["ledger.md"], word


def test_every_legacy_name_is_in_the_docs_in_the_order_in_which_it_counts() -> None:
    rows = dict(re.findall(r"^\| `([a-z_]+)` \| (.*) \|$", DOCS["legacy-names.md"], re.MULTILINE))
    assert {ours: tuple(re.findall(r"`(\w+)`", names)[: len(ALIASES[ours])]) for ours, names in rows.items()} == ALIASES


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    folder = ROOT if page == "README.md" else ROOT / "docs"
    for target in re.findall(r"\]\(([^)#]+)\)", PAGES[page]):
        assert (folder / target).exists(), target


def test_the_index_lists_every_page() -> None:
    assert set(re.findall(r"\]\(([a-z-]+\.md)\)", DOCS["index.md"])) == set(DOCS) - {"index.md"}


def _code(text: str) -> str:
    return "\n".join(re.findall(r"`+([^`]+)`+", text)) + "\n"
