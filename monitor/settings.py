"""Every setting of the service: its unit, its default and its meaning.

Settings are environment variables with the prefix `BOOKING_MONITOR_`, or lines of a `.env` file in the working
directory; the environment wins. A secret may also stand in a file that `BOOKING_MONITOR_<NAME>_FILE` names.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from monitor.domain.currencies import MINOR_DIGITS
from monitor.domain.push_services import KNOWN_PUSH_SERVICES
from monitor.domain.urls import store_url, web_url
from monitor.secret_files import read_secret
from monitor.settings_dotenv import problems_of

PREFIX = "BOOKING_MONITOR_"
DOTENV = ".env"
CLIENT_VARIABLES = (f"{PREFIX}URL", f"{PREFIX}TOKEN")
"""Variables of the commands that call a running instance; to the service itself they mean nothing."""

Seconds = Annotated[float, Field(gt=0, le=366 * 86_400)]


class SettingsError(Exception):
    """The settings cannot be used; the message names each setting, what was given and what is allowed."""


class Settings(BaseSettings):
    """The effective settings of one process."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_file=DOTENV, extra="ignore", frozen=True, hide_input_in_errors=True
    )

    host: str = Field(
        "127.0.0.1", min_length=1, description="Address to listen on. Any other than loopback needs `API_TOKENS`."
    )
    port: int = Field(8080, ge=0, le=65_535, description="TCP port to listen on; 0 takes a free one.")
    database_url: SecretStr = Field(
        SecretStr("sqlite:///./booking-monitor.db"),
        description="`sqlite:///path` (embedded) or `postgresql://user:password@host/database`.",
    )
    environment: str = Field(
        "production", pattern=r"^[A-Za-z0-9._-]{1,64}$", description="Name of this installation, in pages and logs."
    )
    platform: Literal["embedded"] = Field("embedded", description="Where bookings live.")
    nats_url: SecretStr | None = Field(
        None, description="`nats://host:port`: wakes the other replicas at once. Needs PostgreSQL."
    )

    api_tokens: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        (),
        description="Comma-separated tokens of the callers of the API, each of at least 16 characters or `sha256:<hex>`"
        " of it.",
    )
    provider_token_secret: SecretStr | None = Field(
        None,
        description="Signs the tokens of providers; at least 32 characters. Without it each start makes a new one, so"
        " that tokens end with the process.",
    )
    provider_token_lifetime: Seconds = Field(3600, description="Seconds for which a provider's token is valid.")

    grace_chat_room: Seconds = Field(5, description="Seconds after creation at which chat room and message are due.")
    grace_notification: Seconds = Field(
        10, description="Seconds after creation at which notification and push are due."
    )
    grace_realtime: Seconds = Field(10, description="Seconds after creation at which the realtime event is due.")
    settle: Seconds = Field(
        1, description="Seconds that judging waits after a due time, so that evidence on its way is in the store."
    )
    response_deadline: Seconds = Field(300, description="Seconds that a provider has to answer a booking.")
    chat_room_lifetime: Seconds = Field(1500, description="Seconds after which a chat room takes no more messages.")

    writer_queue_limit: int = Field(
        2048, ge=1, le=1_000_000, description="Commands that may wait for the writer; more are answered 503."
    )
    writer_group_limit: int = Field(64, ge=1, le=1024, description="Commands that one transaction takes at most.")
    reader_connections: int = Field(4, ge=1, le=64, description="Connections of the store that only read.")
    store_timeout: Seconds = Field(
        30, description="Seconds that anybody waits for a store which does not answer, before it is answered 503."
    )
    body_limit: int = Field(65_536, ge=1024, le=16_777_216, description="Bytes that a request's body may have.")

    acknowledge_timeout: Seconds = Field(2, description="Seconds to wait for a subscriber's acknowledgement.")
    delivery_attempts: int = Field(12, ge=1, le=100, description="Attempts after which a delivery is dead.")
    delivery_first_delay: Seconds = Field(2, description="Seconds before the second attempt of a delivery.")
    delivery_longest_delay: Seconds = Field(14_400, description="Seconds between two attempts at the most.")
    subscriber_queue_limit: int = Field(
        256, ge=1, le=100_000, description="Events that may wait for one subscriber; a slower one is disconnected."
    )
    subscriptions_per_provider: int = Field(32, ge=1, le=10_000, description="Live subscriptions of one provider.")
    subscriptions_limit: int = Field(10_000, ge=1, le=1_000_000, description="Live subscriptions of one replica.")
    subscriber_messages_per_second: int = Field(
        200,
        ge=1,
        le=100_000,
        description="Messages per second that a subscriber may send besides acknowledgements; more end its connection.",
    )
    realtime_heartbeat: Seconds = Field(15, description="Seconds between two heartbeats to a subscriber.")
    replay_window: Seconds = Field(86_400, description="Seconds back to which a returning subscriber is caught up.")

    vapid_private_key: SecretStr | None = Field(
        None, description="Web Push key (PEM or base64url). Without it no push is sent."
    )
    vapid_subject: str = Field(
        "mailto:operator@localhost.invalid",
        pattern=r"^(mailto:.+@.+|https://.+)$",
        description="Contact that push services are told (RFC 8292).",
    )
    push_allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        KNOWN_PUSH_SERVICES, description="Comma-separated hosts that push endpoints may name; `*.` stands for any part."
    )
    push_subscriptions_per_provider: int = Field(
        20, ge=1, le=1000, description="Push subscriptions of one provider; the oldest gives way."
    )
    push_timeout: Seconds = Field(10, description="Seconds for one call to a push service.")
    push_concurrency: int = Field(32, ge=1, le=1024, description="Pushes under way at once.")

    objectives_file: Path | None = Field(
        None, description="The objectives and alert rules; without it those that the service comes with."
    )
    default_currency: str = Field(
        "IDR", pattern=r"^[A-Z]{3}$", description="Currency (ISO 4217) of prices that name none."
    )
    legacy_timezone: str = Field(
        "UTC", description="Time zone (IANA name) of the legacy `date` and `time`, which name none."
    )

    drill: bool = Field(default=False, description="Marks every page as a drill.")
    evaluation_interval: Seconds = Field(5, description="Seconds between two evaluations of the alerts.")
    pagerduty_routing_key: SecretStr | None = Field(
        None, description="Integration key (32 characters) of a PagerDuty service; without it no page goes there."
    )
    pagerduty_url: str = Field(
        "https://events.pagerduty.com",
        description="Events API of PagerDuty; `https://events.eu.pagerduty.com` for accounts in the EU.",
    )
    pagerduty_webhook_secret: SecretStr | None = Field(
        None, description="Signs the webhooks by which PagerDuty tells of acknowledgements."
    )
    alertmanager_url: str | None = Field(None, description="Alertmanager that is sent the alerts, without `/api/v2`.")
    webhook_url: SecretStr | None = Field(None, description="Any receiver of pages; needs `WEBHOOK_SECRET`.")
    webhook_secret: SecretStr | None = Field(None, description="Signs what is sent to `WEBHOOK_URL`.")
    heartbeat_url: SecretStr | None = Field(
        None, description="Called while the service works: a dead man's switch, which pages when the calls stop."
    )
    heartbeat_interval: Seconds = Field(60, description="Seconds between two heartbeats.")
    public_url: str | None = Field(None, description="Where people reach this service: the base of links in pages.")
    grafana_url: str | None = Field(None, description="Grafana, for links in pages.")
    trace_url: str | None = Field(
        None, pattern=r"\{trace_id\}", description="Where a trace is looked at, with `{trace_id}` in it."
    )

    repair_attempts: int = Field(3, ge=0, le=100, description="Times that a missing stage is made good; 0 is never.")
    overdue_window: Seconds = Field(
        86_400, description="Seconds for which a booking without evidence is shown overdue."
    )
    canary_interval: float = Field(60, ge=0, le=86_400, description="Seconds between two canaries; 0 is none.")
    retention_journeys: Seconds = Field(
        90 * 86_400, description="Seconds for which bookings and their journeys are kept."
    )
    retention_counts: float = Field(
        400 * 86_400, ge=73 * 3600, le=3660 * 86_400, description="Seconds for which counts by the minute are kept."
    )
    retention_canaries: Seconds = Field(3600, description="Seconds for which canary bookings are kept.")
    retention_idempotency_keys: Seconds = Field(
        86_400, description="Seconds for which an Idempotency-Key is remembered."
    )
    retention_batch: int = Field(500, ge=1, le=100_000, description="Rows that one pruning transaction removes.")

    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is logged.")
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="`auto` is `console` on a terminal and `json` elsewhere."
    )

    @field_validator("api_tokens", "push_allowed_hosts", mode="before")
    @classmethod
    def _split_commas(cls, value: Any) -> Any:
        if isinstance(value, str) and value and not value.strip(", "):
            raise ValueError("names nothing")
        return tuple(filter(None, map(str.strip, value.split(",")))) if isinstance(value, str) else value

    @field_validator("api_tokens")
    @classmethod
    def _check_tokens(cls, tokens: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for token in tokens:
            text = token.get_secret_value()
            digest = text.removeprefix("sha256:")
            if digest != text:
                if len(digest) != _SHA256_HEX or not set(digest) <= set("0123456789abcdef"):
                    raise ValueError("`sha256:` is followed by 64 lower-case hexadecimal digits")
            elif len(text) < _SHORTEST_TOKEN:
                raise ValueError(f"each token has at least {_SHORTEST_TOKEN} characters")
        return tokens

    @field_validator("provider_token_secret")
    @classmethod
    def _check_secret(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None and len(secret.get_secret_value()) < _SHORTEST_SECRET:
            raise ValueError(f"has at least {_SHORTEST_SECRET} characters")
        return secret

    @field_validator("vapid_private_key")
    @classmethod
    def _check_vapid_key(cls, key: SecretStr | None) -> SecretStr | None:
        from monitor.pipeline.push.keys import InvalidVapidKeyError, load_private_key  # noqa: PLC0415 - loaded where there is a key

        if key is not None:
            try:
                load_private_key(key.get_secret_value())
            except InvalidVapidKeyError as error:
                raise ValueError(str(error).removeprefix("VAPID_PRIVATE_KEY: ")) from None
        return key

    @field_validator("push_allowed_hosts")
    @classmethod
    def _check_push_hosts(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        from monitor.pipeline.push.endpoints import AllowedHosts  # noqa: PLC0415 - loaded where hosts are named

        try:
            AllowedHosts.parse(hosts)
        except ValueError as error:
            raise ValueError(str(error).removeprefix("PUSH_ALLOWED_HOSTS: ")) from None
        return hosts

    @field_validator("default_currency")
    @classmethod
    def _check_currency(cls, code: str) -> str:
        if code not in MINOR_DIGITS:
            raise ValueError("is a currency code of ISO 4217")
        return code

    @field_validator("legacy_timezone")
    @classmethod
    def _check_timezone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError("is a time zone of the IANA database, as Asia/Jakarta") from error
        return name

    _check_urls = field_validator(
        "pagerduty_url", "alertmanager_url", "webhook_url", "heartbeat_url", "public_url", "grafana_url", "trace_url"
    )(web_url)

    _check_database = field_validator("database_url")(store_url)

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if not self.on_loopback and not self.api_tokens:
            raise ValueError(f"{PREFIX}HOST is not loopback: this needs {PREFIX}API_TOKENS")
        if self.api_tokens and not self.on_loopback and self.provider_token_secret is None:
            raise ValueError(f"{PREFIX}HOST is not loopback: this needs {PREFIX}PROVIDER_TOKEN_SECRET")
        if self.webhook_url is not None and self.webhook_secret is None:
            raise ValueError(f"{PREFIX}WEBHOOK_URL needs {PREFIX}WEBHOOK_SECRET: a page that is not signed is no page")
        if self.nats_url is not None and self.embedded:
            raise ValueError(f"{PREFIX}NATS_URL joins replicas, and replicas need PostgreSQL in {PREFIX}DATABASE_URL")
        return self

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine can connect."""
        try:
            return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def embedded(self) -> bool:
        """Whether the store is SQLite, for one process alone."""
        return self.database_url.get_secret_value().startswith("sqlite")

    @property
    def tells_anybody(self) -> bool:
        """Whether pages or heartbeats go anywhere."""
        return any((self.pagerduty_routing_key, self.alertmanager_url, self.webhook_url, self.heartbeat_url))

    def local_url(self, port: int) -> str:
        """Where this process can reach its own HTTP API."""
        host = {"0.0.0.0": "127.0.0.1", "localhost": "127.0.0.1", "::": "::1"}.get(  # noqa: S104 - compared, not bound
            self.host, self.host
        )
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - part of the signature
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Put secrets from `*_FILE` between the environment and the `.env` file."""
        return (init_settings, env_settings, _SecretFiles(settings_cls), dotenv_settings)


_SHA256_HEX = 64
_SHORTEST_TOKEN = 16
_SHORTEST_SECRET = 32


def is_secret(name: str) -> bool:
    """Whether a setting is masked wherever it is shown."""
    return "SecretStr" in str(Settings.model_fields[name].annotation)


class _SecretFiles(PydanticBaseSettingsSource):
    """Reads `BOOKING_MONITOR_<SECRET>_FILE`."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        _ = field
        if not is_secret(field_name):
            return None, field_name, False
        variable = f"{PREFIX}{field_name.upper()}_FILE"
        path = _variables().get(variable)
        if not path:
            return None, field_name, False
        try:
            return read_secret(path), field_name, False
        except (OSError, ValueError) as error:
            raise SettingsError(f"{variable}: cannot read {path}: {error}") from error

    def __call__(self) -> dict[str, Any]:
        """All secrets that stand in files."""
        found: dict[str, Any] = {}
        for name, field in self.settings_cls.model_fields.items():
            value, key, _ = self.get_field_value(field, name)
            if value is not None:
                found[key] = value
        return found


def load(**overrides: Any) -> Settings:
    """Read the settings of this process.

    Raises SettingsError with one line for each setting that cannot be used, and for each variable with our
    prefix that is no setting (a misspelt name must not pass as the default). Where the `.env` file itself cannot be
    read, its lines are all that is said.
    """
    if broken := problems_of(Path(DOTENV)):
        raise SettingsError("\n".join(broken))
    known = {*CLIENT_VARIABLES, *(PREFIX + name.upper() for name in Settings.model_fields)}
    known |= {f"{PREFIX}{name.upper()}_FILE" for name in Settings.model_fields if is_secret(name)}
    unknown = sorted(name for name in _variables() if name.startswith(PREFIX) and name not in known)
    problems = [f"{name}: there is no such setting" for name in unknown]
    settings: Settings | None = None
    try:
        settings = Settings(**overrides)
    except ValidationError as error:
        problems += [_explain(problem) for problem in error.errors()]
    if problems or settings is None:
        raise SettingsError("\n".join(problems))
    return settings


def _variables() -> Mapping[str, str | None]:
    """What the environment and the `.env` file set, by upper-case name."""
    in_file = DotEnvSettingsSource(Settings).env_vars
    return {name.upper(): value for name, value in (*in_file.items(), *os.environ.items())}


def _explain(problem: Any) -> str:
    message = str(problem["msg"]).removeprefix("Value error, ")
    if not problem["loc"]:
        return message
    name = str(problem["loc"][0])
    field = Settings.model_fields.get(name)
    given = "(hidden)" if field is None or is_secret(name) else repr(problem.get("input"))
    return f"{PREFIX}{name.upper()}: {message}; given {given}"


def reference() -> list[tuple[str, str, str]]:
    """Name, default and meaning of every setting, for the documentation and for `config`."""
    rows = []
    for name, field in Settings.model_fields.items():
        default = "" if field.default in (None, (), PydanticUndefined) else field.default
        if isinstance(default, SecretStr):
            default = default.get_secret_value()
        if isinstance(default, tuple):
            default = ",".join(default)
        rows.append((PREFIX + name.upper(), str(default), field.description or ""))
    return rows
