"""What many integration tests work on: an open store, and a running service that the tests of a module share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.service import RunningService, running_service
from support.store import Store, open_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    import httpx


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    """A new, empty store; the test runs on SQLite and on PostgreSQL."""
    async with open_store(database_url) as store:
        yield store


@pytest.fixture(scope="module")
def service() -> Iterator[RunningService]:
    """A service with the default settings, which goes on with what earlier tests of the module left."""
    with running_service() as service:
        yield service


@pytest.fixture(scope="module")
def client(service: RunningService) -> Iterator[httpx.Client]:
    """A client of `service`."""
    with service.client() as client:
        yield client
