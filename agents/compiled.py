"""The phase network in compiled code, as an operation that torch can differentiate: for training, where it counts.

`agents.network` defines the same with torch's own operations, which is the way taken where the library was not built,
and for whatever is judged, exported or handed over. The two agree but for rounding (sums are taken in another order).
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from envs.native.library import load_library
from signals.observations import ObservationShape

FOLDER = Path(__file__).parent / "native"
LIBRARIES = {
    "libphases-avx512.so": {"avx512f", "fma"},
    "libphases-avx2.so": {"avx2", "fma"},
    "libphases.so": set[str](),
}
"""The same for registers of 512, 256 and 128 bits, and what a processor has to have for it; the widest one first."""
CPU_INFO = Path("/proc/cpuinfo")
SIZES = ("phases", "movements", "phase_features", "movement_features", "units", "scores")
WEIGHTS = (
    "movement_weight", "movement_bias", "phase_weight", "phase_bias",
    "hidden_weight", "hidden_bias", "out_weight", "out_bias",
)  # fmt: skip


_rooms: list[Tensor] = []
"""Memory that nobody uses now. Pieces of this size would else go back to the system each time, and coming anew they
cost as much as what is computed in them."""


class Network(ctypes.Structure):
    """The struct `Network` of native/network.h."""

    _fields_ = [*((name, ctypes.c_int64) for name in SIZES), *((name, ctypes.c_void_p) for name in WEIGHTS)]


@cache
def library() -> ctypes.CDLL | None:
    """The compiled library for this processor, or None where none was built, is of this source, or all are off."""
    has = processor_flags()
    fitting = (load_library(FOLDER / name) for name, needed in LIBRARIES.items() if needed <= has)
    found = next(filter(None, fitting), None)
    if found is None:
        return None
    pointer, count = ctypes.c_void_p, ctypes.c_int64
    found.phases_room.argtypes, found.phases_room.restype = [pointer, count, ctypes.c_int], count
    found.phases_room_back.argtypes, found.phases_room_back.restype = [pointer], count
    found.phases_forward.argtypes = [pointer, pointer, count, pointer, pointer, ctypes.c_int]
    found.phases_backward.argtypes = [pointer, count, pointer, pointer, pointer, pointer]
    found.phases_forward.restype = found.phases_backward.restype = None
    found.dqn_room.argtypes, found.dqn_room.restype = [pointer], count
    found.ppo_room.argtypes, found.ppo_room.restype = [pointer], count
    found.dqn_step.argtypes = found.ppo_step.argtypes = [pointer, pointer, count]
    found.dqn_step.restype = found.ppo_step.restype = ctypes.c_double
    return found


def processor_flags() -> frozenset[str]:
    """What the processor can do, in Linux' words; nothing where that is not told, as on other architectures."""
    try:
        lines = CPU_INFO.read_text().splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line for line in lines if line.startswith("flags")), "").split())


def scores(rows: Tensor, shape: ObservationShape, weights: Sequence[Tensor]) -> Tensor:
    """[B, size] rows to [B, P] scores, as `PhaseScorer` has them; `weights` in the order of `WEIGHTS`."""
    result: Tensor = _Pass.apply(rows, shape, True, *weights)  # type: ignore[no-untyped-call]
    return result


def values(rows: Tensor, shape: ObservationShape, weights: Sequence[Tensor]) -> Tensor:
    """[B, size] rows to [B, 1] values, as `StateValue` has them."""
    result: Tensor = _Pass.apply(rows, shape, False, *weights)  # type: ignore[no-untyped-call]
    return result


class Scores:
    """Scores for a few rows at a time, without torch around them: for rollouts.

    Args:
        network: whose weights stay where they are.
        kept: who has these weights.
    """

    def __init__(self, network: Network, kept: object) -> None:
        compiled = library()
        assert compiled is not None, "ask `library`"
        self._kept = kept
        self._network, self._at = network, ctypes.addressof(network)
        self._forward, self._phases = compiled.phases_forward, network.phases
        room = np.empty(compiled.phases_room(self._at, 1, False), np.float32)
        self._room, self._room_at = room, room.ctypes.data

    def __call__(self, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """[B, size] to [B, P]."""
        assert rows.dtype == np.float32
        assert rows.flags.c_contiguous
        out = np.empty((len(rows), self._phases), np.float32)
        self._forward(self._at, rows.ctypes.data, len(rows), out.ctypes.data, self._room_at, False)
        return out


class _Pass(torch.autograd.Function):
    """Forwards, keeping what the way back needs; backwards to the weights (nobody asks for the rows' slope)."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, shape: ObservationShape, by_phase: bool, *weights: Tensor) -> Tensor:
        compiled = library()
        assert compiled is not None, "ask `library`"
        assert rows.shape[1] == shape.size
        assert rows.dtype == torch.float32
        rows = rows.contiguous()
        network = described(shape, by_phase, weights)
        keep = any(ctx.needs_input_grad)
        batch, at = rows.shape[0], ctypes.addressof(network)
        out = torch.empty(batch, shape.phases if by_phase else 1)
        room = _take_room(compiled.phases_room(at, batch, keep))
        compiled.phases_forward(at, rows.data_ptr(), batch, out.data_ptr(), room.data_ptr(), keep)
        if keep:
            ctx.save_for_backward(*weights)
            ctx.room, ctx.shape, ctx.by_phase, ctx.batch = room, shape, by_phase, batch
        else:
            _rooms.append(room)
        return out

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        compiled, kept = library(), ctx.room
        assert compiled is not None
        if kept is None:
            raise RuntimeError("a pass goes back once: what it had kept is given back then")
        ctx.room = None
        weights = ctx.saved_tensors
        network = described(ctx.shape, ctx.by_phase, weights)
        at, slope = ctypes.addressof(network), slopes[0].contiguous()
        sizes = [weight.numel() for weight in weights]
        flat, room = torch.empty(sum(sizes)), _take_room(compiled.phases_room_back(at))
        compiled.phases_backward(at, ctx.batch, slope.data_ptr(), kept.data_ptr(), flat.data_ptr(), room.data_ptr())
        _rooms.extend((room, kept))
        parts = torch.split(flat, sizes)
        return None, None, None, *(part.view_as(weight) for part, weight in zip(parts, weights, strict=True))


def _take_room(size: int) -> Tensor:
    """Memory of at least so many floats, given back to `_rooms` afterwards."""
    for n, room in enumerate(_rooms):
        if room.numel() >= size:
            return _rooms.pop(n)
    del _rooms[:-4]
    return torch.empty(size)


def described(shape: ObservationShape, by_phase: bool, weights: Sequence[Tensor]) -> Network:
    """A network as the compiled code sees it; `by_phase`: it scores phases, else it gives one value."""
    sizes = (shape.phases, shape.movements, shape.phase_features, shape.movement_features, len(weights[1]), by_phase)
    assert all(weight.is_contiguous() and weight.dtype == torch.float32 for weight in weights)
    return Network(*sizes, *(weight.data_ptr() for weight in weights))
