"""YAML as a file of settings needs it, and no more."""

from __future__ import annotations

from typing import Any

import yaml


class StrictLoader(yaml.SafeLoader):
    """Refuses what the file does not need: a key that stands twice, tags, and aliases, which can grow without bound."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Refuse aliases and tags. Raises ComposerError with its line."""
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]  # untyped in types-PyYAML
        if isinstance(event, yaml.AliasEvent):
            mark: Any = event.start_mark
            raise yaml.composer.ComposerError(problem="aliases are not allowed", problem_mark=mark)
        if event.tag is not None:
            raise yaml.composer.ComposerError(
                problem=f"the tag {event.tag!r:.80} stands here, tags are not allowed", problem_mark=event.start_mark
            )
        return super().compose_node(parent, index)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:  # noqa: FBT001, FBT002 - the signature of PyYAML
        """Say in which line a value cannot be understood. Raises ConstructorError."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, OverflowError) as error:  # what looks like a time or a number and is none: 2026-13-01
            raise yaml.constructor.ConstructorError(problem=str(error), problem_mark=node.start_mark) from None

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - the signature of PyYAML
        """Refuse a key that stands twice. Raises ConstructorError with its line."""
        seen: set[str] = set()
        for key in (key for key, _value in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"the key {key.value!r} stands twice", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)
