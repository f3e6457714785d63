"""The page `docs/settings.md`, made from the settings themselves."""

from __future__ import annotations

from typing import Any

from monitor.settings import PREFIX, Settings, is_secret, reference
from monitor.telemetry.tracing import DEFAULT_RATIO

_BOUNDS = {
    "minimum": "from {}",
    "exclusiveMinimum": "more than {}",
    "maximum": "up to {}",
    "pattern": "`{}`",
}


def reference_page() -> str:
    """Write the reference of all settings, in Markdown."""
    properties = Settings.model_json_schema()["properties"]
    rows = []
    for name, default, meaning in reference():
        field = name.removeprefix(PREFIX).lower()
        allowed = f"secret; also `{name}_FILE`" if is_secret(field) else _allowed(properties[field])
        rows.append(f"| `{name}` | {f'`{default}`' if default else ''} | {_cell(allowed)} | {_cell(meaning)} |")
    return _PAGE.format(prefix=PREFIX, rows="\n".join(rows), ratio=DEFAULT_RATIO, percent=100 * DEFAULT_RATIO)


def _allowed(schema: dict[str, Any]) -> str:
    for branch in schema.get("anyOf", [schema]):
        if branch.get("type") == "boolean":
            return "`true`, `false`"
        if "enum" in branch or "const" in branch:
            return ", ".join(f"`{value}`" for value in branch.get("enum", [branch.get("const")]))
        found = [
            text.format(f"{branch[key]:g}" if isinstance(branch[key], float) else branch[key])
            for key, text in _BOUNDS.items()
            if key in branch
        ]
        if found:
            return " ".join(found)
    return ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


_PAGE = """# Settings

A setting is an environment variable with the prefix `{prefix}`, or a line of a file `.env` in the
working directory; the environment wins. A secret may instead stand in a file that the same name with `_FILE` at its
end names, as container platforms mount them; a variable wins over such a file, and the file over `.env`.
`booking-monitor config` shows what is in force, with secrets masked.

A name with our prefix that is no setting is refused, and so is every value that is not allowed, and every line of
`.env` that is not `NAME=value` or not UTF-8: the command ends with exit code 2 and a line for each.

The variables of OpenTelemetry (`OTEL_*`) are honoured as OpenTelemetry defines them. Traces are exported where
`OTEL_EXPORTER_OTLP_ENDPOINT` or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` names a collector that takes `http/protobuf`. One
default is our own: where `OTEL_TRACES_SAMPLER` is not set, it is `parentbased_traceidratio` with {ratio:g} for
`OTEL_TRACES_SAMPLER_ARG`. So of the traces that begin here {percent:g} % are sampled;
[what went wrong is always kept](operating.md#traces).

| name | default | allowed | meaning |
|---|---|---|---|
{rows}

`{prefix}URL` and `{prefix}TOKEN` are no settings of the service: they are the
defaults of `--url` and `--token` of the commands that call a running instance.
"""
