"""The code from outside that a run directory names: what it is, and whether it has changed since."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plumbing.errors import InputError, printable
from plumbing.outside import check_allowed, is_outside, source_of
from signals.reward_sum import outside_names

Code = dict[str, str]
"""What each is ("reward", "observation", …), by name."""


def code_of(settings: Mapping[str, Any], *, policy: bool) -> Code:
    """The code that a run's settings name. None of it is loaded.

    Args:
        policy: only what its policy needs, not what it was trained with.

    Raises:
        InputError: the reward is not well formed.
    """
    named: list[tuple[str, Any]] = [
        (what, part.get(what, ""))
        for part in (settings, settings.get("job", {}))
        for what in ("observation", "network", "agent")
    ]
    if not policy:
        named += [("reward", name) for name in outside_names(settings.get("job", {}).get("reward", ""))]
    return {name: what for what, name in named if is_outside(name)}


def sources_of(code: Code) -> list[dict[str, str]]:
    """What a run directory remembers of it: `what`, `name`, `file`, `sha256`. It is loaded."""
    return [{"what": what, **source_of(name, what)} for name, what in code.items()]


def changed(settings: Mapping[str, Any], code: Code) -> list[str]:
    """What of this code is not as it was when the run was trained, in words. It is loaded."""
    remembered = {entry["name"]: entry["sha256"] for entry in settings.get("code", [])}
    return [
        f"the {source['what']} {printable(source['name'])} ({printable(source['file'])})"
        for source in sources_of(code)
        if remembered.get(source["name"]) != source["sha256"]
    ]


def check_resumable(settings: Mapping[str, Any], allow_code: bool, where: Path) -> None:
    """Whether a training may go on with the code that it names.

    Raises:
        InputError: the user has not allowed it, or it has changed.
    """
    code = code_of(settings, policy=False)
    check_allowed(code, allow_code, where)
    if found := changed(settings, code):
        raise InputError(
            f"{where}: {', '.join(found)} has changed since this run began; put it back as it was, or train anew"
        )
