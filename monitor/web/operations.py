"""What operators and their machines ask: metrics, health, rates, and driving dead deliveries again."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Response

from monitor.domain.ledger import Count, Overdue
from monitor.domain.times import optional_rfc3339, rfc3339
from monitor.domain.vocabulary import SLIS, Stage, Traffic, Window
from monitor.store.deliveries import REDRIVEN_AT_ONCE, Redrive, find_dead
from monitor.web import schemas
from monitor.web.context import ApiCaller, JsonRoute, ServiceHere, answer, problems

router = APIRouter(tags=["operations"], route_class=JsonRoute)


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(service: ServiceHere, accept: Annotated[str | None, Header()] = None) -> Response:
    """Metrics for Prometheus, in its text format or in OpenMetrics."""
    body, media_type = service.metrics.render(accept)
    return Response(body, headers={"Content-Type": media_type})


@router.get("/healthz", response_model=schemas.Health)
async def healthz() -> Response:
    """Whether the process is alive."""
    return answer({"status": "ok"})


@router.get("/readyz", response_model=schemas.Readiness, responses={503: {"model": schemas.Readiness}})
async def readyz(service: ServiceHere) -> Response:
    """Whether this instance should get traffic; 503 with the reasons when it should not."""
    reasons = service.unready()
    status = "unready" if reasons else "ready"
    return answer(
        {"status": status, "reasons": reasons, "warnings": service.alarms.warnings()}, 503 if reasons else 200
    )


@router.get("/v1/slis", response_model=schemas.SlisReport, responses=problems())
async def slis(service: ServiceHere, caller: ApiCaller) -> Response:
    """The rates with their exact counts, as the last snapshot of the ledger has them."""
    _ = caller
    snapshot = service.snapshot
    if snapshot is None:
        return answer({"at": rfc3339(0), "slis": []})
    reports: list[dict[str, Any]] = []
    for sli in SLIS:
        for traffic in Traffic:
            overdue = snapshot.overdue.get((sli, traffic), Overdue())
            reports.append(
                {
                    "sli": sli.value,
                    "traffic": traffic.value,
                    "objective": service.alarms.objectives.objectives.ratios[sli],
                    "windows": {
                        window.value: _count(snapshot.windows.get((sli, traffic, window), Count())) for window in Window
                    },
                    "overdue": {
                        "bookings": overdue.bookings,
                        "oldest_due_at": optional_rfc3339(overdue.oldest_due_at),
                    },
                }
            )
    return answer({"at": rfc3339(snapshot.at), "slis": reports})


@router.post(
    "/v1/deliveries/redrive",
    response_model=schemas.Redriven,
    responses=problems(413, 415),
)
async def redrive(body: schemas.RedriveBody, service: ServiceHere, caller: ApiCaller) -> Response:
    """Drive all dead deliveries again, from their first attempt: those that are dead now, each once."""
    _ = caller
    stage = None if body.stage is None else Stage(body.stage)
    dead = await service.readers.run(find_dead, stage, body.booking_id)
    redriven = 0
    for start in range(0, len(dead), REDRIVEN_AT_ONCE):
        some = dead[start : start + REDRIVEN_AT_ONCE]
        redriven += await service.writer.offer(Redrive(some, service.clock()))
    return answer({"redriven": redriven})


def _count(count: Count) -> dict[str, Any]:
    return {"events": count.events, "bad": count.bad, "ratio": count.good_ratio}
