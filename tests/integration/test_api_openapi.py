"""The OpenAPI document: valid, complete, and true in what no generated request can show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jsonschema_rs
import pytest
import schemathesis
from fastapi.routing import APIRoute
from schemathesis.core.result import Ok
from starlette.routing import BaseRoute
from support.bookings import booking, make
from support.service import API_TOKEN, RunningService, running_service

from monitor.web import alerts, bookings, chat, operations, providers, realtime

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

OTHER: dict[str, list[dict[str, list[str]]] | None] = {
    "/metrics": None,
    "/healthz": None,
    "/readyz": None,
    "/v1/pagerduty/webhook": [{"pagerduty": []}],
}
"""Paths that ask for something else than our tokens, or for nothing."""


@pytest.fixture(scope="module")
def service() -> Iterator[RunningService]:
    with running_service(api_tokens=API_TOKEN) as service:
        yield service


@pytest.fixture(scope="module")
def document(client: httpx.Client) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/openapi.json").json()
    return found


def all_operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, operations_ in document["paths"].items():
        for method, operation in operations_.items():
            yield path, method, operation


def test_the_document_is_valid(document: dict[str, Any]) -> None:
    schema = schemathesis.openapi.from_dict(document)
    schema.validate()
    assert all(isinstance(operation, Ok) for operation in schema.get_all_operations())
    for definition in document["components"]["schemas"].values():
        jsonschema_rs.meta.validate(definition)


def test_every_route_of_the_api_is_in_the_document(document: dict[str, Any]) -> None:
    parts = (alerts, bookings, chat, operations, providers, realtime)
    routes: list[BaseRoute] = [route for part in parts for route in part.router.routes]
    expected = {
        (route.path, method.lower())
        for route in routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
    }
    assert {(path, method) for path, method, _ in all_operations(document)} == expected | {("/v1/bookings", "post")}


def test_every_reference_is_defined_and_every_definition_is_used(document: dict[str, Any]) -> None:
    def references(node: Any) -> Iterator[str]:
        if isinstance(node, dict):
            if isinstance(node.get("$ref"), str):
                yield node["$ref"]
            for child in node.values():
                yield from references(child)
        elif isinstance(node, list):
            for child in node:
                yield from references(child)

    defined = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert set(references(document)) == defined


def test_every_operation_has_a_name_of_its_own_and_says_what_it_does(document: dict[str, Any]) -> None:
    operations_ = [operation for _, _, operation in all_operations(document)]
    names = [operation["operationId"] for operation in operations_]
    assert len(set(names)) == len(names)
    assert all(operation["description"] for operation in operations_)


def test_every_error_is_documented_as_a_problem(document: dict[str, Any]) -> None:
    for path, method, operation in all_operations(document):
        for status, response in operation["responses"].items():
            if status >= "400" and path != "/readyz":
                assert set(response["content"]) == {"application/problem+json"}, (method, path, status)


def test_a_body_may_be_too_large_or_of_another_kind_and_the_document_says_so(document: dict[str, Any]) -> None:
    for path, _, operation in all_operations(document):
        if "requestBody" in operation:
            assert {"413", "415", "422"} <= operation["responses"].keys() or path == "/v1/pagerduty/webhook"


def test_the_document_says_whether_a_token_is_needed(document: dict[str, Any]) -> None:
    for path, _, operation in all_operations(document):
        assert operation.get("security") == OTHER.get(path, [{"token": []}])
    with running_service() as service, service.client() as client:
        for path, _, operation in all_operations(client.get("/openapi.json").json()):
            assert operation.get("security") == OTHER.get(path, [{"token": []}, {}])


def test_what_is_read_back_fits_the_document(document: dict[str, Any], client: httpx.Client) -> None:
    made = make(client, **booking(notes="two\nlines", price_minor=1, oddity={"a": [1]}))
    definitions = {"components": document["components"]}
    for name, value in (
        ("MadeBooking", made),
        ("Booking", client.get(f"/v1/bookings/{made['booking']['id']}").json()),
        ("FullJourney", client.get(f"/v1/bookings/{made['booking']['id']}/journey").json()),
        ("SlisReport", client.get("/v1/slis").json()),
        ("Problem", client.get("/v1/bookings/1").json()),
    ):
        schema = {"$ref": f"#/components/schemas/{name}", **definitions}
        jsonschema_rs.validator_for(schema, validate_formats=True).validate(value)
        undocumented = set(value) - set(document["components"]["schemas"][name]["properties"])
        assert undocumented == set()
