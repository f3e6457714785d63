"""The service as `booking-monitor serve` runs it, but for pushes that go to loopback and nowhere else."""

from __future__ import annotations

import sys
import tempfile
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvloop

from monitor import serving
from monitor.pipeline.push.endpoints import AllowedHosts
from monitor.pipeline.push.keys import load_private_key
from monitor.pipeline.push.sender import PushSender
from monitor.pipeline.push.vapid import VapidSigner
from monitor.service import Service
from monitor.settings import load
from monitor.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@contextmanager
def loopback_service(environment: Mapping[str, str], **settings: Any) -> Iterator[Any]:
    """Run it as a process; arguments as of `running_service`. SSL_CERT_FILE names the certificate to trust."""
    from support.service import RunningService  # noqa: PLC0415 - not on the path of the process that we start

    class LoopbackService(RunningService):
        def command(self) -> list[str]:
            return [*super().command()[:-2], sys.executable, __file__]

    with (
        tempfile.TemporaryDirectory(prefix="service-") as folder,
        LoopbackService(Path(folder), settings, environment) as service,
    ):
        yield service


def main() -> None:
    """Serve until a signal comes."""
    settings = load()
    logs.configure(settings.log_level, logs.LogFormat.JSON)
    if settings.vapid_private_key is None:
        raise SystemExit("VAPID_PRIVATE_KEY is not set")
    sender = PushSender(
        VapidSigner(load_private_key(settings.vapid_private_key.get_secret_value()), settings.vapid_subject),
        AllowedHosts.parse(settings.push_allowed_hosts),
        timeout_seconds=settings.push_timeout,
        address_allowed=lambda address: address.is_loopback,
    )
    setattr(serving, "Service", partial(Service, sender=sender))  # noqa: B010 - it is not part of what `serving` exports
    uvloop.run(serving.serve(settings, lambda _url: None))


if __name__ == "__main__":
    main()
