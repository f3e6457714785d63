"""Peer: the smallest application with the imports of the service, all of them in use. `PORT DATABASE`."""

from __future__ import annotations

import sys

import uvicorn
from fastapi import FastAPI, Response
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from prometheus_client import CollectorRegistry, Counter, generate_latest
from sqlalchemy import create_engine, text


def application(database: str) -> FastAPI:
    """Build the application."""
    app = FastAPI()
    engine = create_engine(f"sqlite:///{database}")
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
    registry = CollectorRegistry()
    requests = Counter("requests", "Requests so far.", registry=registry)
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)

    @app.get("/healthz")
    async def alive() -> dict[str, str]:
        requests.inc()
        return {"status": "ok"}

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(generate_latest(registry), media_type="text/plain")

    return app


def main(port: str, database: str) -> None:
    """Serve until terminated."""
    uvicorn.run(application(database), host="127.0.0.1", port=int(port), log_level="warning", access_log=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
