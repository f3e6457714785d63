"""Reading: a few connections that cannot write, used from threads so that the event loop never waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from monitor.store.writer import StoreUnavailableError, describe

P = ParamSpec("P")
T = TypeVar("T")


class Readers:
    """Runs queries on reading connections, as many at once as there are connections."""

    def __init__(self, engine: Engine, connections: int, patience: float) -> None:
        """`patience`: seconds after which nobody waits for a query any longer."""
        self._engine = engine
        self._patience = patience
        self._threads = ThreadPoolExecutor(connections, thread_name_prefix="reader")

    async def run(self, query: Callable[Concatenate[Connection, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a query on one connection. Raises StoreUnavailableError when the store does not answer."""

        def work() -> T:
            try:
                with self._engine.connect() as connection:
                    return query(connection, *args, **kwargs)
            except DBAPIError as error:
                raise StoreUnavailableError(describe(error)) from error

        try:
            async with asyncio.timeout(self._patience):
                return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except TimeoutError as error:
            raise StoreUnavailableError(f"the store has not answered for {self._patience:g} s") from error

    async def stop(self) -> None:
        """Wait for running queries and close all connections."""
        await asyncio.to_thread(self._threads.shutdown)
        self._engine.dispose()
