"""The dashboards obey the rules of Grafana's dashboard-linter, and our own; the committed files are current."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.models import units
from typer.testing import CliRunner

from dashboards.builder import build
from dashboards.builder.layout import GRID_WIDTH, Section, place
from dashboards.builder.panels import NO_DATA, now, number
from monitor.alerting.objectives_file import MONITOR_DOWN, load
from monitor.cli import app
from monitor.domain.vocabulary import AlertName
from monitor.telemetry import catalogue
from monitor.telemetry.catalogue import Kind, MetricSpec

ROOT = Path(__file__).parents[2] / "dashboards"
PROMISED = load(ROOT.parent / "rules" / "objectives.yaml").objectives
FILES = sorted((ROOT / "json").glob("*.json"))
Json = dict[str, Any]

SELECTOR = re.compile(r"(?P<metric>[a-z_]+)\{(?P<matchers>[^}]*)\}(?:\[(?P<range>[^\]]+)\])?")
MATCHER = re.compile(r'(\w+)(=~|!=|=|!~)"([^"]*)"')
GROUPING = re.compile(r"\b(?:by|on|group_left) \(([^)]*)\)")
FUNCTION_OF_RANGE = re.compile(r"(\w+)\(([a-z_]+)\{[^}]*\}\[([^\]]+)\]\)")
ADDED_BY_PROMETHEUS = {"job", "instance", "exported_job"}
PANELS_WITH_SERIES = {"stat", "timeseries", "bargauge", "heatmap", "state-timeline", "table"}


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def dashboard(request: pytest.FixtureRequest) -> Json:
    loaded: Json = json.loads(request.param.read_text(encoding="utf-8"))
    return loaded


def panels(dashboard: Json) -> list[Json]:
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def expressions(dashboard: Json) -> list[str]:
    return [target["expr"] for panel in panels(dashboard) for target in panel["targets"]]


def selectors(dashboard: Json) -> list[re.Match[str]]:
    return [match for expr in expressions(dashboard) for match in SELECTOR.finditer(expr)]


def variables(dashboard: Json) -> dict[str, Json]:
    return {variable["name"]: variable for variable in dashboard["templating"]["list"]}


def spec_of(series: str) -> MetricSpec | None:
    specs = {spec.name: spec for spec in (*catalogue.LEDGER, *catalogue.PROCESS)}
    family = re.sub(r"_(bucket|sum|count)$", "", series)
    if family in specs and specs[family].kind is Kind.HISTOGRAM:
        return specs[family]
    return specs.get(series)


def test_the_committed_files_are_what_the_command_makes(tmp_path: Path) -> None:
    arguments = ["--directory", str(tmp_path), "--objectives", str(ROOT.parent / "rules" / "objectives.yaml")]
    result = CliRunner().invoke(app, ["dashboards", "build", *arguments])
    assert result.exit_code == 0, result.output

    built = list(tmp_path.iterdir())

    assert {path.name for path in built} == {path.name for path in FILES}
    for path in built:
        assert path.read_text(encoding="utf-8") == (ROOT / "json" / path.name).read_text(encoding="utf-8"), path.name


def test_links_lead_to_where_the_builder_is_told(tmp_path: Path) -> None:
    promised = replace(PROMISED, runbook_base_url="https://books.test")

    for path in build(tmp_path, promised, service="https://monitor.test/"):
        constants = variables(json.loads(path.read_text(encoding="utf-8")))
        assert constants["service"]["query"] == "https://monitor.test"
        assert constants["runbooks"]["query"] == "https://books.test"


def test_the_evidence_is_held_against_the_alpha_of_the_alerts(tmp_path: Path) -> None:
    strict = replace(PROMISED, critical=replace(PROMISED.critical, alpha=1e-6))
    path, *_ = build(tmp_path, strict)

    assert f"/ {math.log(1e6):.3f}" in path.read_text(encoding="utf-8")


def test_the_sdk_reads_a_dashboard_back_without_losing_a_key(dashboard: Json) -> None:
    # Imported after the builder, which keeps the SDK's advice about another schema version quiet.
    from grafana_foundation_sdk.cog.encoder import JSONEncoder  # noqa: PLC0415 - see above
    from grafana_foundation_sdk.cog.plugins import register_default_plugins  # noqa: PLC0415 - see above
    from grafana_foundation_sdk.models.dashboard import Dashboard  # noqa: PLC0415 - see above

    register_default_plugins()
    read = Dashboard.from_json(dashboard)

    assert json.loads(json.dumps(read, cls=JSONEncoder)) == dashboard


def test_nobody_edits_a_dashboard_in_the_browser(dashboard: Json) -> None:
    assert dashboard["editable"] is False


def test_the_data_source_is_chosen_by_the_reader(dashboard: Json) -> None:
    sources = [variable for variable in variables(dashboard).values() if variable["type"] == "datasource"]

    assert [(source["name"], source["label"], source["query"]) for source in sources] == [
        ("datasource", "Data source", "prometheus")
    ]


@pytest.mark.parametrize("name", ["job", "instance"])
def test_job_and_instance_are_variables(dashboard: Json, name: str) -> None:
    variable = variables(dashboard)[name]

    assert variable["type"] == "query"
    assert variable["label"] == name.title()
    assert variable["datasource"]["uid"] == "${datasource}"
    assert variable["multi"] is True
    assert variable["allValue"] == ".+"


def test_traffic_is_one_kind_at_a_time_and_at_first_the_real_one(dashboard: Json) -> None:
    variable = variables(dashboard)["traffic"]

    assert variable["multi"] is False
    assert variable["includeAll"] is False
    assert variable["current"]["value"] == "real"


def test_variables_are_asked_anew_when_the_time_range_changes(dashboard: Json) -> None:
    refreshes = [variable["refresh"] for variable in variables(dashboard).values() if variable["type"] == "query"]

    assert len(refreshes) == 3
    assert set(refreshes) == {2}


def test_variables_ask_for_labels_of_metrics_that_exist(dashboard: Json) -> None:
    for variable in variables(dashboard).values():
        if variable["type"] == "query":
            found = re.fullmatch(r"label_values\((\w+)(?:\{[^}]*\})?, (\w+)\)", variable["query"])
            assert found is not None, variable["query"]
            spec = spec_of(found[1])
            assert spec is not None, found[1]
            assert found[2] in {*spec.labels, *ADDED_BY_PROMETHEUS}


def test_every_panel_asks_the_chosen_data_source(dashboard: Json) -> None:
    for panel in panels(dashboard):
        for asked in (panel, *panel["targets"]):
            assert asked["datasource"] == {"type": "prometheus", "uid": "${datasource}"}, panel["title"]


def test_every_panel_has_a_title_of_its_own_and_a_description(dashboard: Json) -> None:
    titles = [panel["title"] for panel in panels(dashboard)]

    assert all(titles)
    assert len(set(titles)) == len(titles)
    for panel in panels(dashboard):
        assert panel["description"].endswith("."), panel["title"]


def test_every_panel_has_a_unit_that_grafana_knows(dashboard: Json) -> None:
    known = {value for name, value in vars(units).items() if isinstance(value, str) and not name.startswith("_")}

    for panel in panels(dashboard):
        overrides = [
            p["value"] for o in panel["fieldConfig"]["overrides"] for p in o["properties"] if p["id"] == "unit"
        ]
        assert {panel["fieldConfig"]["defaults"]["unit"], *overrides} <= known, panel["title"]


def test_every_panel_says_when_there_is_no_data(dashboard: Json) -> None:
    for panel in panels(dashboard):
        defaults = panel["fieldConfig"]["defaults"]
        special = [m["options"] for m in defaults["mappings"] if m["type"] == "special"]
        assert defaults["noValue"] == NO_DATA, panel["title"]
        assert [(s["match"], s["result"]["text"]) for s in special] == [("null+nan", NO_DATA)], panel["title"]


def test_every_panel_has_queries_with_ids_of_their_own(dashboard: Json) -> None:
    for panel in panels(dashboard):
        assert panel["type"] in PANELS_WITH_SERIES
        ids = [target["refId"] for target in panel["targets"]]
        assert ids, panel["title"]
        assert all(ids), panel["title"]
        assert len(set(ids)) == len(ids), panel["title"]


def test_every_selector_follows_job_and_instance(dashboard: Json) -> None:
    found = selectors(dashboard)

    assert found
    for selector in found:
        matchers = MATCHER.findall(selector["matchers"])
        assert ("job", "=~", "$job") in matchers, selector[0]
        assert ("instance", "=~", "$instance") in matchers, selector[0]


def test_no_metric_is_named_without_a_selector(dashboard: Json) -> None:
    for expr in expressions(dashboard):
        rest = SELECTOR.sub("", expr)
        assert not re.search(r"\b(booking|process)_\w+|\bup\b", rest), expr


def test_rates_are_over_the_rate_interval(dashboard: Json) -> None:
    for expr in expressions(dashboard):
        for function, _, span in FUNCTION_OF_RANGE.findall(expr):
            if function in {"rate", "irate"}:
                assert span == "$__rate_interval", expr


def test_counters_are_only_read_as_rates_and_increases(dashboard: Json) -> None:
    for expr in expressions(dashboard):
        counters = [s for s in SELECTOR.finditer(expr) if re.search(r"_(total|bucket|count|sum)$", s["metric"])]
        applied = [f for f in FUNCTION_OF_RANGE.findall(expr) if f[1] in {c["metric"] for c in counters}]
        assert len(applied) == len(counters), expr
        assert {function for function, *_ in applied} <= {"rate", "irate", "increase"}, expr


def test_every_metric_and_label_is_in_the_catalogue(dashboard: Json) -> None:
    for expr in expressions(dashboard):
        known: set[str] = set()
        for selector in SELECTOR.finditer(expr):
            metric = selector["metric"]
            spec = spec_of(metric)
            if spec is None:
                assert metric == "up" or metric.startswith("process_"), metric
            labels = {*(spec.labels if spec else ()), *ADDED_BY_PROMETHEUS}
            labels |= {"le"} if metric.endswith("_bucket") else set()
            assert {name for name, *_ in MATCHER.findall(selector["matchers"])} <= labels, selector[0]
            known |= labels
        for grouping in GROUPING.findall(expr):
            assert {label for label in grouping.split(", ") if label} <= known, expr


def test_a_job_is_not_mistaken_for_a_scrape_job(dashboard: Json) -> None:
    for grouping in (g for expr in expressions(dashboard) for g in GROUPING.findall(expr)):
        assert "job" not in grouping.split(", ")


def test_the_ledger_is_not_counted_once_for_each_replica(dashboard: Json) -> None:
    ledger = {spec.name for spec in catalogue.LEDGER}
    for expr in expressions(dashboard):
        for selector in SELECTOR.finditer(expr):
            spec = spec_of(selector["metric"])
            if spec is not None and spec.name in ledger:
                before = expr[: selector.start()]
                assert re.search(r"max by \([^)]*\) \((\w+\()?$", before), expr


def test_no_objective_is_written_into_a_query(dashboard: Json) -> None:
    for expr in expressions(dashboard):
        bare = re.sub(r'"[^"]*"|histogram_quantile\([\d.]+', "", expr)
        assert not re.search(r"\b0?\.(95|98|05|02)\b", bare), expr


def test_panels_stand_in_the_grid_without_overlap_or_holes(dashboard: Json) -> None:
    places = [panel["gridPos"] for panel in dashboard["panels"]]

    for a, b in combinations(places, 2):
        beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        apart = a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
        assert beside or apart, (a, b)
    height = max(place["y"] + place["h"] for place in places)
    assert all(place["x"] >= 0 and place["x"] + place["w"] <= GRID_WIDTH for place in places)
    assert sum(place["w"] * place["h"] for place in places) == GRID_WIDTH * height


def test_colours_change_at_rising_values(dashboard: Json) -> None:
    for panel in panels(dashboard):
        first, *bounds = [step["value"] for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]]
        assert first is None, panel["title"]
        assert bounds == sorted(bounds), panel["title"]


def test_panels_have_ids_of_their_own(dashboard: Json) -> None:
    ids = [panel["id"] for panel in dashboard["panels"]]

    assert all(ids)
    assert len(set(ids)) == len(ids)


def test_the_story_goes_from_large_to_small(dashboard: Json) -> None:
    first_row = [panel for panel in panels(dashboard) if panel["gridPos"]["y"] == 1]

    assert dashboard["panels"][0]["type"] == "row"
    assert first_row
    assert {panel["type"] for panel in first_row} == {"stat"}


def test_legends_are_shown(dashboard: Json) -> None:
    for panel in panels(dashboard):
        if panel["type"] in {"timeseries", "state-timeline"}:
            assert panel["options"]["legend"]["showLegend"] is True, panel["title"]


def test_runbooks_are_those_of_alerts_that_exist(dashboard: Json) -> None:
    books = {f"${{runbooks}}/{alert}.md" for alert in (*AlertName, MONITOR_DOWN)}
    links = {link["url"] for panel in panels(dashboard) for link in panel["links"]}
    runbooks = {url for url in links if url.startswith("${runbooks}")}

    assert runbooks
    assert runbooks <= books


def test_the_runbook_of_every_alert_is_reached_from_a_panel() -> None:
    drawn = [json.loads(path.read_text(encoding="utf-8")) for path in FILES]
    urls = {link["url"] for dashboard in drawn for panel in panels(dashboard) for link in panel["links"]}

    assert {f"${{runbooks}}/{alert}.md" for alert in AlertName} <= urls


def test_exemplars_and_links_lead_to_the_provisioned_traces() -> None:
    sources = {
        source["uid"]: source
        for path in (ROOT / "provisioning" / "datasources").glob("*.yaml")
        for source in yaml.safe_load(path.read_text(encoding="utf-8"))["datasources"]
    }
    pipeline = (ROOT / "json" / "booking-pipeline.json").read_text(encoding="utf-8")
    prometheus = sources["booking-prometheus"]["jsonData"]
    destination = prometheus["exemplarTraceIdDestinations"][0]

    assert destination["name"] == "trace_id"
    assert sources[destination["datasourceUid"]]["type"] == "tempo"
    assert prometheus["alertmanagerUid"] in sources
    assert destination["datasourceUid"] in pipeline
    assert '"exemplar": true' in pipeline


def test_the_provisioned_folder_forbids_edits() -> None:
    path = ROOT / "provisioning" / "dashboards" / "booking-monitor.yaml"
    (provider,) = yaml.safe_load(path.read_text(encoding="utf-8"))["providers"]

    assert provider["allowUiUpdates"] is False
    assert provider["type"] == "file"


def test_a_line_that_does_not_fill_the_grid_is_refused() -> None:
    lone = number("Lone", "A panel.", "none", [now("up")])

    with pytest.raises(ValueError, match="section 'Half': a line of panels is 4 columns wide, not 24"):
        place([Section("Half", [[lone]])])
