"""A provider's inbox, push subscriptions and tokens."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from monitor.domain.booking import ID_PATTERN
from monitor.domain.representation import show_notification
from monitor.domain.times import rfc3339
from monitor.pipeline.push.endpoints import parse_subscription
from monitor.store import inbox
from monitor.web import schemas
from monitor.web.context import (
    AnyCaller,
    ApiCaller,
    CursorQuery,
    EntityId,
    JsonRoute,
    Limit,
    ServiceHere,
    answer,
    authenticator_of,
    next_cursor,
    problems,
)
from monitor.web.problems import ProblemError

router = APIRouter(tags=["providers"], route_class=JsonRoute)

ProviderId = Annotated[str, Path(pattern=ID_PATTERN)]


@router.post("/v1/providers/{provider_id}/token", response_model=schemas.ProviderToken, responses=problems())
async def issue_token(provider_id: ProviderId, request: Request, caller: ApiCaller) -> Response:
    """Make a short-lived token with which a browser may act as this provider, and as no other."""
    _ = caller
    token, ends_at = authenticator_of(request).issue(provider_id)
    return answer({"token": token, "provider_id": provider_id, "expires_at": rfc3339(ends_at)})


@router.get("/v1/providers/{provider_id}/notifications", response_model=schemas.NotificationPage, responses=problems())
async def list_notifications(
    provider_id: ProviderId,
    service: ServiceHere,
    caller: AnyCaller,
    *,
    unread: bool = False,
    cursor: CursorQuery = None,
    limit: Limit = 50,
) -> Response:
    """Notifications of a provider, newest first."""
    caller.require_provider(provider_id)
    rows = await service.readers.run(inbox.page, provider_id, before=cursor, unread=unread, limit=limit)
    following = next_cursor([row["id"] for row in rows], limit)
    return answer({"notifications": [show_notification(row) for row in rows], "next_cursor": following})


@router.post("/v1/notifications/{notification_id}/read", response_model=schemas.Notification, responses=problems(404))
async def read_notification(notification_id: EntityId, service: ServiceHere, caller: AnyCaller) -> Response:
    """Note that a notification was read."""
    row = await service.writer.offer(inbox.MarkRead(notification_id, service.clock(), caller.provider_id))
    if row is None:
        raise ProblemError(404, "There is no such notification.")
    return answer(show_notification(row))


@router.put(
    "/v1/providers/{provider_id}/push-subscriptions",
    response_model=schemas.PushSubscriptionReference,
    responses=problems(409, 413, 415),
)
async def put_push_subscription(
    provider_id: ProviderId, body: schemas.PushSubscriptionBody, service: ServiceHere, caller: AnyCaller
) -> Response:
    """Keep a browser's push subscription (W3C `PushSubscription`), so that it is pushed to."""
    caller.require_provider(provider_id)
    if service.push_hosts is None:
        raise ProblemError(409, "This service sends no pushes: VAPID_PRIVATE_KEY is not set.")
    subscription = parse_subscription(body.model_dump(), service.push_hosts)
    settings = service.settings
    subscription_id = await service.writer.offer(
        inbox.PutPushSubscription(
            provider_id,
            subscription.endpoint,
            subscription.p256dh,
            subscription.auth,
            subscription.expires_at,
            service.clock(),
            settings.push_subscriptions_per_provider,
        )
    )
    return answer({"id": subscription_id})


@router.delete("/v1/providers/{provider_id}/push-subscriptions", status_code=204, responses=problems(404, 413, 415))
async def drop_push_subscription(
    provider_id: ProviderId, body: schemas.PushEndpoint, service: ServiceHere, caller: AnyCaller
) -> Response:
    """Push to this endpoint no more."""
    caller.require_provider(provider_id)
    known = await service.writer.offer(inbox.DropPushSubscription(endpoint=body.endpoint, provider_id=provider_id))
    if not known:
        raise ProblemError(404, "There is no such push subscription.")
    return Response(status_code=204)
