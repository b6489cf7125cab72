"""What a caller of the Python interface gives as a list: of ids, of files."""

from __future__ import annotations

from typing import Any

from plumbing.errors import InputError, printable


def several(name: str, given: Any, kinds: tuple[type, ...], what: str) -> tuple[Any, ...]:
    """The things given, in their order.

    Args:
        name: the argument's.
        kinds: the types that each of them may have.
        what: they are, for messages: "ids", "files".

    Raises:
        InputError: one thing stands in the place of a list, or a thing is of another type.
    """
    shown = printable(repr(given))
    if isinstance(given, kinds):
        raise InputError(f"{name} is {shown}; give a list of {what}, such as [{shown}]")
    try:
        found = tuple(given)
    except TypeError as error:
        raise InputError(f"{name} is {shown}; give a list of {what}") from error
    for each in found:
        if not isinstance(each, kinds):
            raise InputError(f"{name} holds {printable(repr(each))}; give {what} as text")
    return found
