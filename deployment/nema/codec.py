"""Plain records to JSON and back, by their annotations: dataclasses, tuples, dictionaries, arrays, numbers, text.

Written for the few immutable records that a bundle holds. Reading builds these types and nothing else.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from functools import cache
from typing import Any, TypeVar, Union

import numpy as np

Record = TypeVar("Record")


def encode(value: Any) -> Any:
    """A record as what `json.dumps` takes. Fields whose names begin with _ are left out."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {name: encode(getattr(value, name)) for name in _fields(type(value))}
    if isinstance(value, np.ndarray):
        return {"shape": list(value.shape), "values": value.ravel().tolist()}
    if isinstance(value, (tuple, list)):
        return [encode(item) for item in value]
    if isinstance(value, dict):
        if all(isinstance(key, str) for key in value):
            return {key: encode(item) for key, item in value.items()}
        return [[encode(key), encode(item)] for key, item in value.items()]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"{type(value).__name__} cannot be written to a bundle")


def decode(kind: type[Record], content: Any) -> Record:
    """The record of that type.

    Raises:
        ValueError: the content does not fit the type.
    """
    try:
        result: Record = _decode(kind, content)
    except (TypeError, KeyError, AttributeError, OverflowError) as error:  # such as a list as a name
        raise ValueError(f"it is no {getattr(kind, '__name__', kind)} ({error})") from error
    return result


def _decode(kind: Any, content: Any) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (Union, types.UnionType):
        if content is None and type(None) in arguments:
            return None
        return _decode(next(a for a in arguments if a is not type(None)), content)
    if origin is np.ndarray:
        return _array(typing.get_args(arguments[1])[0], content)
    if origin is tuple:
        _expect(isinstance(content, list), kind, content)
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return tuple(_decode(arguments[0], item) for item in content)
        _expect(len(content) == len(arguments), kind, content)
        return tuple(_decode(a, item) for a, item in zip(arguments, content, strict=True))
    if origin is dict:
        of, to = arguments
        if of is str:
            _expect(isinstance(content, dict), kind, content)
            return {key: _decode(to, item) for key, item in content.items()}
        _expect(isinstance(content, list), kind, content)
        return {_decode(of, key): _decode(to, item) for key, item in map(_pair, content)}
    if dataclasses.is_dataclass(kind):
        _expect(isinstance(content, dict), kind, content)
        make: Any = kind
        names = _fields(make)
        _expect(set(content) == set(names), kind, content)
        return make(**{name: _decode(of, content[name]) for name, of in names.items()})
    if kind is float:
        _expect(isinstance(content, (int, float)) and not isinstance(content, bool), kind, content)
        return float(content)
    _expect(type(content) is kind, kind, content)
    return content


def _pair(content: Any) -> list[Any]:
    _expect(isinstance(content, list) and len(content) == 2, tuple, content)
    pair: list[Any] = content
    return pair


def _array(scalar: type[np.generic], content: Any) -> Any:
    _expect(isinstance(content, dict) and set(content) == {"shape", "values"}, np.ndarray, content)
    values = np.array(content["values"], scalar).reshape(content["shape"])
    if values.dtype.kind == "f":
        _expect(bool(np.isfinite(values).all()), np.ndarray, "a number that is not finite")
    return values


@cache
def _fields(kind: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {f.name: hints[f.name] for f in dataclasses.fields(kind) if not f.name.startswith("_")}


def _expect(fits: bool, kind: Any, content: Any) -> None:
    if not fits:
        name = getattr(kind, "__name__", str(kind))
        raise ValueError(f"{str(content)[:60]!r} is no {name}")
