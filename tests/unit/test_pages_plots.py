"""Plots tell the truth: gaps where there is no data, and a band for what the counts leave open."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.domain.ledger import Count
from monitor.web.pages.plots import HEIGHT, WIDTH, Axis, plot, wilson

AXIS = Axis("then", "between", "now")
COUNTS = st.integers(0, 5000).flatmap(lambda events: st.builds(Count, st.just(events), st.integers(0, events)))
OBJECTIVES = st.sampled_from([0.5, 0.9, 0.95, 0.98, 0.999])


def drawn(counts: list[Count], objective: float = 0.95) -> ET.Element:
    return ET.fromstring(plot(counts, objective, AXIS, "Realtime match, last hour").text)  # noqa: S314 - our own


def paths(svg: ET.Element, kind: str) -> list[str]:
    return [found.attrib["d"] for found in svg.iter("path") if found.attrib["class"] == kind and found.attrib["d"]]


@given(COUNTS)
def test_the_band_holds_the_rate_that_was_seen(count: Count) -> None:
    low, high = wilson(count)
    assert 0 <= low <= high <= 1
    if count.good_ratio is not None:
        assert low - 1e-9 <= count.good_ratio <= high + 1e-9


@pytest.mark.parametrize(
    ("events", "bad", "low", "high"), [(10, 2, 0.4902, 0.9433), (10, 0, 0.7225, 1.0), (100, 50, 0.4038, 0.5962)]
)
def test_the_band_is_wilsons(events: int, bad: int, low: float, high: float) -> None:
    assert wilson(Count(events, bad)) == pytest.approx((low, high), abs=5e-4)


def test_nothing_at_all_is_drawn_as_no_data_and_no_rate() -> None:
    svg = drawn([Count()] * 12)
    assert paths(svg, "rate") == []
    assert [text.text for text in svg.iter("text") if text.attrib.get("class") == "empty"] == ["no data"]
    assert svg.attrib["aria-label"] == "Realtime match, last hour: no data"


def test_a_gap_breaks_the_line_and_is_shaded() -> None:
    svg = drawn([Count(5), Count(5), Count(), Count(5)])
    assert len(paths(svg, "rate")) == 2
    assert [rect.attrib["x"] for rect in svg.iter("rect")] == ["144"]


def test_only_what_is_below_the_objective_is_marked() -> None:
    svg = drawn([Count(100, 5), Count(100, 6), Count(100)])
    assert [path.count("M") for path in paths(svg, "below")] == [1]
    assert paths(drawn([Count(100, 5)]), "below") == []


def test_those_who_do_not_see_it_are_told_the_same() -> None:
    label = drawn([Count(10, 6), Count(10), Count()]).attrib["aria-label"]
    assert label.endswith("2 of 3 spans have data, 1 of them below the objective of 95 %; the lowest is 40.0 %")


@given(st.lists(COUNTS, min_size=1, max_size=60), OBJECTIVES)
def test_everything_is_within_the_picture(counts: list[Count], objective: float) -> None:
    svg = drawn(counts, objective)
    for path in svg.iter("path"):
        for x, y in re.findall(r"M([\d.]+) ([\d.]+)", path.attrib["d"]):
            assert 0 <= float(x) <= WIDTH
            assert 0 <= float(y) <= HEIGHT
        assert all(0 <= float(x) <= WIDTH for x in re.findall(r"H([\d.-]+)", path.attrib["d"]))
        assert all(0 <= float(y) <= HEIGHT for y in re.findall(r"V([\d.-]+)", path.attrib["d"]))
    levels = sorted(float(text.attrib["y"]) for text in svg.iter("text") if text.attrib.get("text-anchor") == "end")
    assert all(0 < y <= HEIGHT for y in levels)
