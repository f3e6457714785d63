"""The two exposition formats: their choice by the Accept header, and writing them quickly.

`prometheus_client.generate_latest` formats and escapes the labels of every sample at each scrape, about 8 us a
line. Here the text before a sample's value is made once and kept, which leaves about 1 us. The tests hold the
result against that library's own writer and parsers.
"""

from __future__ import annotations

import math
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from prometheus_client import CollectorRegistry

    from monitor.telemetry.catalogue import MetricSpec


class Format(StrEnum):
    """An exposition format; its value is its content type."""

    TEXT = "text/plain; version=0.0.4; charset=utf-8"
    OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


def negotiate(accept: str | None) -> Format:
    """Choose the format that a scraper asks for.

    OpenMetrics for whoever accepts `application/openmetrics-text` of version 1 or of no stated version, the
    Prometheus text format for everyone else. As in prometheus_client, q-values are not looked at.
    """
    for media_range in (accept or "").split(","):
        kind, *parameters = (part.strip() for part in media_range.split(";"))
        if kind.lower() != "application/openmetrics-text":
            continue
        versions = [value for name, _, value in (p.partition("=") for p in parameters) if name == "version"]
        if all(version == "1" or version.startswith("1.") for version in versions):
            return Format.OPENMETRICS
    return Format.TEXT


def escape(label_value: str) -> str:
    """Escape a label value."""
    return label_value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def prefix(sample: str, labels: Iterable[tuple[str, str]]) -> str:
    """Everything of a sample's line that stands before its value."""
    inner = ",".join(f'{name}="{escape(value)}"' for name, value in labels)
    return f"{sample}{{{inner}}} " if inner else f"{sample} "


def number(value: float) -> str:
    """Write a sample's value."""
    if math.isfinite(value):
        return repr(value)
    return "NaN" if math.isnan(value) else ("+Inf" if value > 0 else "-Inf")


def head(name: str, kind: str, text: str, form: Format) -> str:
    """Write the HELP and TYPE lines of a metric, whose name is that of its family (without `_total`)."""
    text = text.replace("\\", r"\\").replace("\n", r"\n")
    if form is Format.OPENMETRICS:
        text = text.replace('"', r"\"")
    elif kind == "counter":
        name += "_total"
    return f"# HELP {name} {text}\n# TYPE {name} {kind}\n"


def heads(spec: MetricSpec) -> Mapping[Format, str]:
    """Write the HELP and TYPE lines of a metric of the catalogue, in each format."""
    return {form: head(spec.name.removesuffix("_total"), spec.kind, spec.help, form) for form in Format}


class RegistryWriter:
    """Writes a registry whose metrics are counters, gauges and histograms without exemplars or timestamps."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._heads: dict[tuple[str, Format], str] = {}
        self._prefixes: dict[tuple[str, ...], str] = {}

    def write(self, form: Format) -> str:
        """Read the registry and write it, without the closing `# EOF` of OpenMetrics."""
        out: list[str] = []
        heads_, prefixes = self._heads, self._prefixes
        for metric in self._registry.collect():
            family = metric.name, form
            if family not in heads_:
                heads_[family] = head(metric.name, metric.type, metric.documentation, form)
            out.append(heads_[family])
            for sample in metric.samples:
                series = (sample.name, *sample.labels.values())
                if series not in prefixes:
                    prefixes[series] = prefix(sample.name, sample.labels.items())
                out.append(f"{prefixes[series]}{number(sample.value)}\n")
        return "".join(out)
