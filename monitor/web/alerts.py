"""Alerts and incidents, also in Prometheus' own JSON, and the word that PagerDuty sends back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Path, Query, Request, Response

from monitor.alerting import pagerduty_webhook
from monitor.alerting.pagerduty_webhook import Admission, IncidentChange, IncidentEvent, WebhookError
from monitor.domain.alert_conditions import timing
from monitor.domain.alert_lifecycle import Alert
from monitor.domain.objectives import ALERT_KEYS, AlertKey
from monitor.domain.rows import Fields
from monitor.domain.times import SECOND, optional_rfc3339, rfc3339
from monitor.domain.vocabulary import AlertState
from monitor.service import Service
from monitor.store import alerts, handling
from monitor.store.alerts import AlertStore
from monitor.web import schemas
from monitor.web.context import ApiCaller, Limit, ServiceHere, answer, problems, service_of
from monitor.web.front import read_body
from monitor.web.problems import ProblemError

router = APIRouter(tags=["alerts"])

_LARGEST_NUMBER = 2**53


@router.get("/v1/incidents", response_model=schemas.IncidentPage, responses=problems())
async def list_incidents(
    service: ServiceHere,
    caller: ApiCaller,
    *,
    active: bool = False,
    cursor: Annotated[int | None, Query(ge=1, le=_LARGEST_NUMBER)] = None,
    limit: Limit = 50,
) -> Response:
    """Incidents, newest first."""
    _ = caller
    rows = await service.readers.run(alerts.incident_page, before=cursor, active=active, limit=limit)
    next_cursor = rows[-1]["number"] if len(rows) == limit else None
    return answer({"incidents": [show_incident(row) for row in rows], "next_cursor": next_cursor})


@router.get("/v1/incidents/{number}", response_model=schemas.FullIncident, responses=problems(404))
async def get_incident(
    number: Annotated[int, Path(ge=1, le=_LARGEST_NUMBER)], service: ServiceHere, caller: ApiCaller
) -> Response:
    """One incident, with its timeline and its pages."""
    _ = caller
    found = await service.readers.run(alerts.find_incident, number)
    if found is None:
        raise ProblemError(404, "There is no such incident.")
    return answer(
        {
            **show_incident(found.incident),
            "timeline": [
                {"at": rfc3339(row["at"]), "event": row["event"], "detail": row["detail"]} for row in found.events
            ],
            "pages": [show_page(row) for row in found.pages],
        }
    )


def show_incident(row: Fields) -> dict[str, Any]:
    """An incident, from its row."""
    content = orjson.loads(row["report"])
    return {
        "number": row["number"],
        "alertname": row["alertname"],
        "severity": row["severity"],
        "sli": row["sli"] or None,
        "traffic": row["traffic"] or None,
        "summary": content["summary"],
        "active_at": rfc3339(row["active_at"]),
        "fired_at": rfc3339(row["fired_at"]),
        "resolved_at": optional_rfc3339(row["resolved_at"]),
        "acknowledged_at": optional_rfc3339(row["acknowledged_at"]),
        "details": content["details"],
        "links": [{"href": link["href"], "text": link["text"]} for link in content["links"]],
    }


def show_page(row: Fields) -> dict[str, Any]:
    """A page, from its row."""
    return {
        "channel": row["channel"],
        "action": row["action"],
        "dedup_key": row["dedup_key"],
        "state": row["state"],
        "attempts": row["attempts"],
        "created_at": rfc3339(row["created_at"]),
        "sent_at": optional_rfc3339(row["sent_at"]),
        "next_attempt_at": optional_rfc3339(row["next_attempt_at"]),
        "last_error": row["last_error"],
    }


@router.get("/api/v1/alerts", response_model=schemas.PrometheusAnswer, responses=problems())
async def prometheus_alerts(service: ServiceHere, caller: ApiCaller) -> Response:
    """Active alerts, in the shape of Prometheus' HTTP API, so that Grafana can list them."""
    _ = caller
    store = await service.readers.run(alerts.read_alerts)
    shown = [_alert(key, alert, store) for key, alert in store.alerts.items() if alert.state is not AlertState.INACTIVE]
    return answer({"status": "success", "data": {"alerts": shown}})


@router.get("/api/v1/rules", response_model=schemas.PrometheusAnswer, responses=problems())
async def prometheus_rules(
    service: ServiceHere, caller: ApiCaller, kind: Annotated[str | None, Query(alias="type")] = None
) -> Response:
    """The alerting rules that the service evaluates itself, in the shape of Prometheus' HTTP API."""
    _ = caller
    store = await service.readers.run(alerts.read_alerts)
    rules = [] if kind == "record" else [_rule(service, key, store) for key in ALERT_KEYS]
    group = {
        "name": "booking-monitor",
        "file": "objectives.yaml",
        "interval": service.settings.evaluation_interval,
        "limit": 0,
        "rules": rules,
        "evaluationTime": 0,
        "lastEvaluation": rfc3339(service.clock() if service.snapshot is None else service.snapshot.at),
    }
    return answer({"status": "success", "data": {"groups": [group]}})


def _rule(service: Service, key: AlertKey, store: AlertStore) -> dict[str, Any]:
    objectives = service.alarms.objectives.objectives
    when = timing(key, objectives)
    alert = store.alerts.get(key, Alert())
    active = [] if alert.state is AlertState.INACTIVE else [_alert(key, alert, store)]
    return {
        "state": alert.state.value,
        "name": key.alertname.value,
        "query": f"booking_alert_state{_selector(key.labels)}",
        "duration": when.hold / SECOND,
        "keepFiringFor": when.keep / SECOND,
        "labels": {name: value for name, value in key.labels.items() if name != "alertname"},
        "annotations": {"runbook_url": objectives.runbook_url(key.alertname)},
        "alerts": active,
        "health": "ok",
        "evaluationTime": 0,
        "lastEvaluation": rfc3339(service.clock() if service.snapshot is None else service.snapshot.at),
        "type": "alerting",
    }


def _alert(key: AlertKey, alert: Alert, store: AlertStore) -> dict[str, Any]:
    incident = store.open.get(key)
    annotations = {} if incident is None else {"summary": orjson.loads(incident["report"])["summary"]}
    return {
        "labels": key.labels,
        "annotations": annotations,
        "state": alert.state.value,
        "activeAt": optional_rfc3339(alert.active_at),
        "value": "1e+00",
    }


def _selector(labels: Mapping[str, str]) -> str:
    return "{" + ",".join(f'{name}="{value}"' for name, value in labels.items()) + "}"


@router.post(
    "/v1/pagerduty/webhook",
    status_code=202,
    response_model=schemas.Received,
    responses=problems(413),
    openapi_extra={
        "requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}},
        "security": [{"pagerduty": []}],
    },
)
async def pagerduty_event(request: Request) -> Response:
    """What PagerDuty tells of our incidents (V3 webhooks). Only what it signed has any effect."""
    service = service_of(request)
    secret = service.settings.pagerduty_webhook_secret
    body = await read_body(request, pagerduty_webhook.MAX_BODY_BYTES)
    header = request.headers.get("x-pagerduty-signature")
    if secret is None or not pagerduty_webhook.genuine(body, header, secret):
        raise ProblemError(401, "The signature is not PagerDuty's.")
    try:
        event = pagerduty_webhook.parse(body)
    except WebhookError as error:
        raise ProblemError(422, str(error)) from error
    if event is None:
        return answer({"effect": False}, 202)
    admission = service.alarms.webhooks.admit(event, service.clock())
    if admission is Admission.STALE:
        raise ProblemError(401, "The event is too old to be believed.")
    effect = False
    if admission is Admission.NEW:
        effect = await service.writer.offer(_handling(event))
    return answer({"effect": effect}, 202)


def _handling(event: IncidentEvent) -> handling.Acknowledge | handling.HandBack:
    """What an event means for the incident: somebody is on it, or nobody any more."""
    if event.change is IncidentChange.ACKNOWLEDGED:
        return handling.Acknowledge(event.dedup_key, event.occurred_at)
    closed = event.change is IncidentChange.RESOLVED
    return handling.HandBack(
        event.dedup_key, event.occurred_at, handling.CLOSED_BY_HAND if closed else event.change.value
    )
