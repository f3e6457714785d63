"""The objectives file: read, checked, and turned into values.

Every fault is reported at once, each with the path of the field, what stands there and what is allowed. A file
that could be loaded but whose rules could never fire is a fault as well.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self
from urllib.parse import urlsplit

import yaml
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from monitor.domain.alert_lifecycle import Timing
from monitor.domain.objectives import (
    AbsenceRule,
    AgeRule,
    CountRule,
    CriticalTier,
    Maintenance,
    Objectives,
    Route,
    WarningTier,
)
from monitor.domain.statistics import MAX_ALPHA
from monitor.domain.times import SECOND, from_datetime
from monitor.domain.vocabulary import SLIS, AlertName, PageChannel, Severity, Stage, Window

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MAX_FILE_BYTES = 256 * 1024
MAX_DURATION_SECONDS = 24 * 3600
MAX_MAINTENANCE_WINDOWS = 100
MAX_MIN_BAD = 1000
MIN_AGE_SECONDS = 10
MIN_REPEAT_SECONDS = 60
CRITICAL_REPEAT_SECONDS = 30 * 60
"""How often the page of a critical incident is repeated where the file does not say."""
MAX_RULE_INTERVAL_SECONDS = 300
MIN_OBJECTIVE = 0.5
MAX_OBJECTIVE = 0.99999
MIN_ALPHA = 1e-12

MONITOR_DOWN = "BookingMonitorDown"
"""The alert that only Prometheus can raise: the service itself is gone."""

_DURATION = re.compile(r"(\d{1,9})(s|m|h|d)")
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_JOB = r"^[A-Za-z0-9_.:/-]{1,200}$"


class ObjectivesError(ValueError):
    """The objectives file cannot be used. The message names each field at fault and what is allowed there."""


@dataclass(frozen=True, slots=True)
class PrometheusSettings:
    """What only the generated Prometheus rules need."""

    job: str
    """The scrape job under which Prometheus knows the service."""
    interval_seconds: int
    """How often Prometheus evaluates the rules."""
    monitor_down: Timing


@dataclass(frozen=True, slots=True)
class ObjectivesFile:
    """All that the objectives file says."""

    objectives: Objectives
    prometheus: PrometheusSettings


def default_path() -> Path:
    """The file that the package comes with; in a checkout it stands in `rules`."""
    package = Path(__file__).parents[1]
    packaged = package / "objectives.yaml"
    return packaged if packaged.exists() else package.parent / "rules" / "objectives.yaml"


def load(path: Path) -> ObjectivesFile:
    """Read and check the objectives file. Raises ObjectivesError, and OSError where it cannot be read."""
    with path.open("rb") as file:
        content = file.read(MAX_FILE_BYTES + 1)
    try:
        return parse(content)
    except ObjectivesError as error:
        raise ObjectivesError(f"{path}: {error}") from None


def parse(content: bytes) -> ObjectivesFile:
    """Check the content of an objectives file. Raises ObjectivesError."""
    if len(content) > MAX_FILE_BYTES:
        raise ObjectivesError(f"the file is larger than the {MAX_FILE_BYTES} bytes allowed")
    try:
        document = yaml.load(content, _Loader)  # noqa: S506 - a SafeLoader, made stricter
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise ObjectivesError(f"not valid YAML: {error}") from None
    if not isinstance(document, dict):
        raise ObjectivesError("the file is empty or not a mapping; allowed: the keys of rules/objectives.yaml")
    try:
        return _File.model_validate(document).values()
    except ValidationError as error:
        raise ObjectivesError("\n  ".join(["it cannot be used:", *_faults(error)])) from None


class _Loader(yaml.SafeLoader):
    """Refuses what YAML silently allows: a key that stands twice, and aliases, which can grow without bound."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]  # untyped in types-PyYAML
        if isinstance(event, yaml.AliasEvent):
            mark: Any = event.start_mark
            raise yaml.composer.ComposerError(problem="aliases are not allowed", problem_mark=mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - the signature of PyYAML
        seen: set[str] = set()
        for key in (key for key, _value in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"the key {key.value!r} stands twice", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _faults(error: ValidationError) -> list[str]:
    faults = error.errors(include_url=False)
    within = {fault["loc"][:depth] for fault in faults for depth in range(1, len(fault["loc"]))}
    lines = []
    for fault in faults:
        if fault["loc"] in within:
            continue
        path = ".".join(str(part) for part in fault["loc"] if part != "[key]") or "the file"
        given = f" (given: {fault['input']!r:.80})" if isinstance(fault["input"], str | int | float) else ""
        lines.append(f"{path}: {fault['msg'].removeprefix('Value error, ')}{given}")
    return lines


def _seconds(value: object) -> int:
    """Parse a length of time such as `25s`, `5m`, `1h` or `1d` into seconds."""
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    seconds = int(match[1]) * _UNIT_SECONDS[match[2]] if match else None
    if seconds is None or seconds > MAX_DURATION_SECONDS:
        raise ValueError("allowed: a whole number with its unit, such as 30s, 5m or 1h, up to 1d")
    return seconds


def _repeat(value: object) -> int | None:
    """Parse `off`, which YAML 1.1 reads as false, or a length of time that is not too short for a reminder."""
    if value is False or value == "off":
        return None
    try:
        seconds = _seconds(value)
    except ValueError:
        seconds = 0
    if seconds < MIN_REPEAT_SECONDS:
        raise ValueError(
            f"allowed: off, or a whole number with its unit, such as 30m or 1h, from {MIN_REPEAT_SECONDS}s to 1d"
        )
    return seconds


def _absolute_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("allowed: an absolute http or https URL without query and fragment")
    return value.rstrip("/")


Seconds = Annotated[int, BeforeValidator(_seconds)]
RepeatEvery = Annotated[int | None, BeforeValidator(_repeat)]
MinBad = Annotated[int, Field(ge=1, le=MAX_MIN_BAD, strict=True)]
Probability = Annotated[float, Field(ge=MIN_ALPHA, le=MAX_ALPHA)]
_WINDOWS = ", ".join(Window)


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class _Timed(_Model):
    hold: Seconds = Field(alias="for")
    keep_firing_for: Seconds

    @property
    def timing(self) -> Timing:
        return Timing(self.hold * SECOND, self.keep_firing_for * SECOND)


class _Sli(_Model):
    objective: float = Field(ge=MIN_OBJECTIVE, le=MAX_OBJECTIVE)


class _Critical(_Timed):
    alpha: Probability
    min_bad: MinBad
    windows: dict[Window, Window] = Field(min_length=1)

    @field_validator("windows")
    @classmethod
    def _companions_are_shorter(cls, windows: dict[Window, Window]) -> dict[Window, Window]:
        for window, companion in windows.items():
            if companion.seconds >= window.seconds:
                shorter = (
                    ", ".join(w for w in Window if w.seconds < window.seconds) or "none: this window has no shorter one"
                )
                raise ValueError(f"the companion {companion} of {window} is not shorter; allowed: {shorter}")
        return windows

    def values(self) -> CriticalTier:
        return CriticalTier(self.alpha, self.min_bad, self.windows, self.timing)


class _Warning(_Timed):
    burn_rate: float = Field(ge=1, allow_inf_nan=False)
    min_bad: MinBad
    windows: tuple[Window, ...] = Field(min_length=1)

    def values(self) -> WarningTier:
        return WarningTier(self.burn_rate, self.min_bad, self.windows, self.timing)


class _Rates(_Model):
    critical: _Critical
    warning: _Warning


class _Age(_Timed):
    older_than: Annotated[Seconds, Field(ge=MIN_AGE_SECONDS)]

    def values(self) -> AgeRule:
        return AgeRule(self.older_than * SECOND, self.timing)


class _Count(_Timed):
    at_least: Annotated[int, Field(ge=1, le=MAX_MIN_BAD, strict=True)]

    def values(self) -> CountRule:
        return CountRule(self.at_least, self.timing)


class _Absence(_Timed):
    p_value: Probability
    windows: tuple[Window, ...] = Field(min_length=1)

    def values(self) -> AbsenceRule:
        return AbsenceRule(self.p_value, self.windows, self.timing)


class _Alerts(_Model):
    overdue: _Age = Field(alias=AlertName.OVERDUE.value)
    canary_failing: _Count = Field(alias=AlertName.CANARY_FAILING.value)
    schema_drift: _Count = Field(alias=AlertName.SCHEMA_DRIFT.value)
    traffic_absent: _Absence = Field(alias=AlertName.TRAFFIC_ABSENT.value)
    ledger_stale: _Age = Field(alias=AlertName.LEDGER_STALE.value)
    page_undelivered: _Age = Field(alias=AlertName.PAGE_UNDELIVERED.value)
    monitor_down: _Timed = Field(alias=MONITOR_DOWN)


class _Severity(_Model):
    channels: tuple[PageChannel, ...] = Field(min_length=1)
    pagerduty: Literal["critical", "error", "warning", "info"]
    repeat_every: RepeatEvery = None

    def values(self) -> Route:
        repeat = None if self.repeat_every is None else self.repeat_every * SECOND
        return Route(self.channels, self.pagerduty, repeat)


class _Urgent(_Severity):
    repeat_every: RepeatEvery = CRITICAL_REPEAT_SECONDS


class _Severities(_Model):
    critical: _Urgent
    warning: _Severity

    def values(self) -> dict[Severity, Route]:
        return {Severity.CRITICAL: self.critical.values(), Severity.WARNING: self.warning.values()}


class _Maintenance(_Model):
    reason: str = Field(min_length=1, max_length=200)
    starts: AwareDatetime
    ends: AwareDatetime
    alerts: frozenset[Literal["BookingMonitorDown"] | AlertName] = frozenset()

    @model_validator(mode="after")
    def _ends_after_it_starts(self) -> Self:
        if self.ends <= self.starts:
            raise ValueError(f"ends is {self.ends.isoformat()}; allowed: after starts ({self.starts.isoformat()})")
        return self

    def values(self) -> Maintenance:
        names = frozenset(str(name) for name in self.alerts)
        return Maintenance(self.reason, from_datetime(self.starts), from_datetime(self.ends), names)


class _Prometheus(_Model):
    job: str = Field(pattern=_JOB)
    interval: Annotated[Seconds, Field(ge=1, le=MAX_RULE_INTERVAL_SECONDS)]


class _File(_Model):
    version: Literal[1]
    runbook_base_url: Annotated[str, AfterValidator(_absolute_url)]
    slis: dict[Stage, _Sli]
    rates: _Rates
    alerts: _Alerts
    severities: _Severities
    maintenance: tuple[_Maintenance, ...] = Field(max_length=MAX_MAINTENANCE_WINDOWS)
    prometheus: _Prometheus

    @field_validator("slis")
    @classmethod
    def _all_slis(cls, slis: dict[Stage, _Sli]) -> dict[Stage, _Sli]:
        if set(slis) != set(SLIS):
            raise ValueError(f"found {', '.join(sorted(slis)) or 'none'}; allowed: exactly {', '.join(SLIS)}")
        return {sli: slis[sli] for sli in SLIS}

    @model_validator(mode="after")
    def _can_fire(self) -> Self:
        faults = [f"rates.{fault}" for fault in _never_fires(self.rates, self.slis)]
        half, interval = self.alerts.ledger_stale.older_than // 2, self.prometheus.interval
        if interval > half:
            faults.append(
                f"prometheus.interval: at {interval}s every reading is too old for {AlertName.LEDGER_STALE}, and the "
                f"rules stay frozen; allowed: at most half of its older_than, {half}s"
            )
        if faults:
            raise ValueError("; ".join(faults))
        return self

    def values(self) -> ObjectivesFile:
        alerts = self.alerts
        return ObjectivesFile(
            Objectives(
                ratios={sli: spec.objective for sli, spec in self.slis.items()},
                critical=self.rates.critical.values(),
                warning=self.rates.warning.values(),
                overdue=alerts.overdue.values(),
                canary_failing=alerts.canary_failing.values(),
                schema_drift=alerts.schema_drift.values(),
                traffic_absent=alerts.traffic_absent.values(),
                ledger_stale=alerts.ledger_stale.values(),
                page_undelivered=alerts.page_undelivered.values(),
                routes=self.severities.values(),
                maintenance=tuple(window.values() for window in self.maintenance),
                runbook_base_url=self.runbook_base_url,
            ),
            PrometheusSettings(self.prometheus.job, self.prometheus.interval, alerts.monitor_down.timing),
        )


def _never_fires(rates: _Rates, slis: Mapping[Stage, _Sli]) -> list[str]:
    """Name the rules that no traffic and no fault could make fire."""
    faults = []
    for sli, spec in slis.items():
        allowed = 1 - spec.objective
        share = rates.warning.burn_rate * allowed
        if share >= 1:
            faults.append(
                f"warning.burn_rate: {rates.warning.burn_rate:g} can never fire for {sli}: it needs more than "
                f"{share:.0%} failing; allowed: below {1 / allowed:g}"
            )
    return faults
