"""HTML is safe by construction: no text that comes from elsewhere can become more than text."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.web.pages.html import document, h, join, tag

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00\r"))
HOSTILE = st.sampled_from(["<script>alert(1)</script>", '" onload="x', "'><img src=x>", "</p>", "&lt;", "]]>", "<!--"])


class Seen(HTMLParser):
    """What a parser makes of a piece of HTML."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@given(TEXT | HOSTILE, TEXT | HOSTILE)
def test_text_and_attributes_come_back_as_they_were_and_add_nothing(text: str, value: str) -> None:
    seen = Seen(h.p(text, [text, None], title=value).text)
    assert seen.tags == [("p", {"title": value})]
    assert seen.text == text * 2


@pytest.mark.parametrize("value", [None, False])
def test_an_attribute_that_is_not_there_is_not_written(value: Any) -> None:
    assert h.p("x", hidden=value).text == "<p>x</p>"


def test_attributes_are_spelled_as_html_has_them() -> None:
    written = h.label("x", for_="token", class_="a", aria_label="b", data_ago=True).text
    assert written == '<label for="token" class="a" aria-label="b" data-ago>x</label>'


def test_an_element_may_have_an_attribute_called_name() -> None:
    assert tag("meta", name="viewport", content="x").text == '<meta name="viewport" content="x">'


def test_pieces_are_nested_and_joined_as_they_are() -> None:
    assert join(["a&b", h.b("c"), 3, None, (h.i(), ["d"])]).text == "a&amp;b<b>c</b>3<i></i>d"


def test_a_document_is_in_standards_mode() -> None:
    assert document(h.html()) == "<!doctype html>\n<html></html>"
