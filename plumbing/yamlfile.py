"""Reading YAML from outside: plain values, and no more of them than the file writes out."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from plumbing.errors import InputError, printable

MOST_BYTES = 2**16
"""An agent's settings have less than a thousand."""
DEEPEST = 20
"""Levels; settings have two or three."""


class _Plain(yaml.SafeLoader):
    """Refuses what no settings need: aliases, by which a few bytes become gigabytes, and what is nested deeply."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise _Refused("it has an alias (*name); write the value itself", self.peek_event())  # type: ignore[no-untyped-call]
        self.depth += 1
        if self.depth > DEEPEST:
            raise _Refused(f"it is nested more than {DEEPEST} deep", self.peek_event())  # type: ignore[no-untyped-call]
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        names = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        if names and (most := names.most_common(1)[0])[1] > 1:
            raise _Refused(f"{printable(most[0], 60)!r} is there twice", node)
        return super().construct_mapping(node, deep)


class _Refused(yaml.YAMLError):
    """YAML that this reader refuses, with its line."""

    def __init__(self, why: str, where: Any) -> None:
        super().__init__(f"{why} (line {where.start_mark.line + 1})")


def parse_yaml(text: str) -> Any:
    """The values of a YAML text.

    Raises:
        ValueError: it is none, has an alias, a name twice or too many levels, or is larger than `MOST_BYTES`.
    """
    if len(text) > MOST_BYTES:
        raise ValueError(f"it is larger than {MOST_BYTES >> 10} KiB")
    try:
        return yaml.load(text, _Plain)
    except Exception as error:  # a date without such a month, say: YAML makes objects of texts
        mark = getattr(error, "problem_mark", None)
        said = getattr(error, "problem", None) or str(error) or type(error).__name__
        raise ValueError(printable(said) + (f" (line {mark.line + 1})" if mark else "")) from error


def read_yaml(path: Path, what: str) -> Any:
    """The values of a YAML file, named `what` where something is wrong.

    Raises:
        InputError: it cannot be read, or is none that `parse_yaml` takes.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
        return parse_yaml(data.decode("utf-8"))
    except OSError as error:
        raise InputError(f"{what} {path}: {error.strerror}; give a YAML file of settings") from error
    except ValueError as error:
        raise InputError(f"{what} {path} is not YAML of settings: {error}; give lines of `name: value`") from error
