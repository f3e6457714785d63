"""Writing HTML that is safe by construction.

Text becomes HTML only through `tag`, which escapes it; what is `Html` already was made here. There is no way to mark
a text as safe by hand but `Html` itself, which only this module and the tests of it use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from html import escape
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Html:
    """A piece of HTML."""

    text: str

    def __str__(self) -> str:
        return self.text


Node: TypeAlias = "Html | str | int | Iterable[Node] | None"
Attribute: TypeAlias = str | int | float | bool | None
"""True is an attribute without a value; False and None are no attribute."""

_VOID = frozenset({"br", "hr", "img", "input", "link", "meta"})


def tag(name: str, /, *children: Node, **attributes: Attribute) -> Html:
    """An element. `class_` stands for `class`, `for_` for `for`, `aria_label` for `aria-label` and so on.

    A URL in an attribute is the caller's to check: escaping cannot know which schemes are meant.
    """
    written = "".join(_attribute(key, value) for key, value in attributes.items())
    opening = f"<{name}{written}>"
    return Html(opening) if name in _VOID else Html(f"{opening}{join(children)}</{name}>")


def join(children: Node) -> Html:
    """Several pieces as one."""
    return Html("".join(_pieces(children)))


def _pieces(node: Node) -> Iterable[str]:
    if node is None:
        return
    if isinstance(node, Html):
        yield node.text
    elif isinstance(node, str | int):
        yield escape(str(node))
    else:
        for child in node:
            yield from _pieces(child)


def _attribute(key: str, value: Attribute) -> str:
    if value is None or value is False:
        return ""
    name = key.removesuffix("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{escape(str(value))}"'


class _Tags:
    """`h.p("text", class_="note")` for `tag("p", "text", class_="note")`."""

    def __getattr__(self, name: str) -> Callable[..., Html]:
        return partial(tag, name)


h = _Tags()


def document(*children: Node) -> str:
    """A whole document, from its root element."""
    return f"<!doctype html>\n{join(children)}"
