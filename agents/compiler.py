"""PyTorch's compiler stays out until somebody compiles: its import takes longer than all else at a training's start.

An optimiser imports `torch._dynamo` only to say that it is not to be compiled. A stand-in hears that, and makes way
for the real one as soon as more is asked of it: a network from outside with `torch.compile`, `torch.onnx.export`.
"""

from __future__ import annotations

import importlib
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

NAME = "torch._dynamo"


def leave_compiler_out() -> None:
    """Let optimisers be made without PyTorch's compiler; of no effect where it has been imported."""
    sys.modules.setdefault(NAME, _StandIn(NAME))


class _StandIn(ModuleType):
    """What `torch.optim` asks of the compiler, where nothing is compiled."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__spec__ = ModuleSpec(name, None)

    @staticmethod
    def disable(fn: Any, recursive: bool = True, **_: Any) -> Any:
        """The function as it is."""
        return fn

    @staticmethod
    def graph_break(*_: Any, **__: Any) -> None:
        """Nothing: there is no graph."""

    def __getattr__(self, name: str) -> Any:
        """Whatever else there is, of the real one, whose `__path__` is asked for when a part of it is imported."""
        if name.startswith("__") and name != "__path__":  # asked of every module there is, as by inspect
            raise AttributeError(name)
        if sys.modules.get(NAME) is self:
            del sys.modules[NAME]
        return getattr(importlib.import_module(NAME), name)
