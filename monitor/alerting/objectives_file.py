"""The objectives file: read, checked, and turned into values.

Every fault is reported at once, each with the path of the field, what stands there and what is allowed. A file
that could be loaded but whose rules could never fire is a fault as well.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from monitor.alerting.objectives_fields import (
    MAX_DURATION_SECONDS,
    CriticalHold,
    MinBad,
    Moment,
    Number,
    Probability,
    RepeatEvery,
    RunbookUrl,
    Seconds,
    Version,
    Windows,
    between,
    distinct,
)
from monitor.alerting.strict_yaml import StrictLoader
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
from monitor.domain.times import SECOND, from_datetime
from monitor.domain.vocabulary import SLIS, AlertName, PageChannel, Severity, Stage, Window

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_FILE_BYTES = 256 * 1024
MAX_WATCHDOG_AGE_SECONDS = 3600
"""Longest `older_than` of the alerts that say that the alarm itself is broken."""
MAX_MAINTENANCE_WINDOWS = 100
MAX_MAINTENANCE_DAYS = 31
"""Longest maintenance window: a mistyped year must not mute the alerts for good."""
MIN_AGE_SECONDS = 10
CRITICAL_REPEAT_SECONDS = 30 * 60
"""How often the page of a critical incident is repeated where the file does not say."""
MAX_RULE_INTERVAL_SECONDS = 300
MIN_OBJECTIVE = 0.5
MAX_OBJECTIVE = 0.99999

MONITOR_DOWN = "BookingMonitorDown"
"""The alert that only Prometheus can raise: the service itself is gone."""

_NEVER_REPEATED = frozenset({"runbook_base_url"})
"""Fields whose content no error repeats: a URL that is refused may have a password in it."""
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
    if not stat.S_ISREG(path.stat().st_mode):  # before it is opened: a pipe that nobody writes to would block for ever
        raise ObjectivesError(f"{path}: is not a regular file")
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
        document = yaml.load(content, StrictLoader)  # noqa: S506 - a SafeLoader, made stricter
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise ObjectivesError(f"not valid YAML: {error}") from None
    if not isinstance(document, dict):
        raise ObjectivesError("the file is empty or not a mapping; allowed: the keys of rules/objectives.yaml")
    try:
        return _File.model_validate(document).values()
    except ValidationError as error:
        raise ObjectivesError("\n  ".join(["it cannot be used:", *_faults(error)])) from None


def _faults(error: ValidationError) -> list[str]:
    faults = error.errors(include_url=False)
    within = {fault["loc"][:depth] for fault in faults for depth in range(1, len(fault["loc"]))}
    lines = []
    for fault in faults:
        if fault["loc"] in within:
            continue
        path = ".".join(str(part) for part in fault["loc"] if part != "[key]") or "the file"
        shown = isinstance(fault["input"], str | int | float) and path not in _NEVER_REPEATED
        given = f" (given: {fault['input']!r:.80})" if shown else ""
        lines.append(f"{path}: {fault['msg'].removeprefix('Value error, ')}{given}")
    return lines


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class _Timed(_Model):
    hold: Seconds = Field(alias="for")
    keep_firing_for: Seconds

    @property
    def timing(self) -> Timing:
        return Timing(self.hold * SECOND, self.keep_firing_for * SECOND)


class _Prompt(_Timed):
    """Of an alert that wakes somebody."""

    hold: CriticalHold = Field(alias="for")


class _Sli(_Model):
    objective: Number = Field(ge=MIN_OBJECTIVE, le=MAX_OBJECTIVE)


class _Critical(_Prompt):
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
    burn_rate: Number = Field(ge=1, allow_inf_nan=False)
    min_bad: MinBad
    windows: Windows

    def values(self) -> WarningTier:
        return WarningTier(self.burn_rate, self.min_bad, self.windows, self.timing)


class _Rates(_Model):
    critical: _Critical
    warning: _Warning


class _Age(_Timed):
    older_than: Annotated[Seconds, between(MIN_AGE_SECONDS, MAX_DURATION_SECONDS)]

    def values(self) -> AgeRule:
        return AgeRule(self.older_than * SECOND, self.timing)


class _Watchdog(_Age):
    """Of an alert that says that the alarm itself is broken."""

    hold: CriticalHold = Field(alias="for")
    older_than: Annotated[Seconds, between(MIN_AGE_SECONDS, MAX_WATCHDOG_AGE_SECONDS)]


class _Count(_Prompt):
    at_least: MinBad

    def values(self) -> CountRule:
        return CountRule(self.at_least, self.timing)


class _Absence(_Timed):
    p_value: Probability
    windows: Windows

    def values(self) -> AbsenceRule:
        return AbsenceRule(self.p_value, self.windows, self.timing)


class _Alerts(_Model):
    overdue: _Age = Field(alias=AlertName.OVERDUE.value)
    canary_failing: _Count = Field(alias=AlertName.CANARY_FAILING.value)
    schema_drift: _Count = Field(alias=AlertName.SCHEMA_DRIFT.value)
    traffic_absent: _Absence = Field(alias=AlertName.TRAFFIC_ABSENT.value)
    ledger_stale: _Watchdog = Field(alias=AlertName.LEDGER_STALE.value)
    page_undelivered: _Watchdog = Field(alias=AlertName.PAGE_UNDELIVERED.value)
    monitor_down: _Prompt = Field(alias=MONITOR_DOWN)


class _Severity(_Model):
    channels: Annotated[tuple[PageChannel, ...], Field(min_length=1), AfterValidator(distinct)]
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
    starts: Moment
    ends: Moment
    alerts: frozenset[Literal["BookingMonitorDown"] | AlertName] = Field(frozenset(), min_length=1)

    @model_validator(mode="after")
    def _ends_after_it_starts(self) -> Self:
        if self.ends <= self.starts:
            raise ValueError(f"ends is {self.ends.isoformat()}; allowed: after starts ({self.starts.isoformat()})")
        if self.ends - self.starts > timedelta(days=MAX_MAINTENANCE_DAYS):
            raise ValueError(
                f"ends is {self.ends.isoformat()}; allowed: at most {MAX_MAINTENANCE_DAYS} days after starts "
                f"({self.starts.isoformat()})"
            )
        return self

    def values(self) -> Maintenance:
        names = frozenset(str(name) for name in self.alerts)
        return Maintenance(self.reason, from_datetime(self.starts), from_datetime(self.ends), names)


class _Prometheus(_Model):
    job: str = Field(pattern=_JOB)
    interval: Annotated[Seconds, between(1, MAX_RULE_INTERVAL_SECONDS)]


class _File(_Model):
    version: Version
    runbook_base_url: RunbookUrl
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
