"""An exported policy at work: an ONNX graph, one thread, and nothing that is not finite goes in or comes out."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from plumbing.errors import InputError
from plumbing.onnx import onnxruntime

OPSET = 17
"""The opset of every exported graph; a file with another one is refused."""
Row = npt.NDArray[np.float32]


class OnnxPolicy:
    """[N] inputs of one signal in physical units to its [P] scores and the phase."""

    def __init__(self, content: bytes, where: str = "policy.onnx") -> None:
        """See the class.

        Raises:
            InputError: it is no such graph, or asks for an opset that is not ours.
        """
        asked = opsets(content, where)
        if asked != {"": OPSET}:
            found = ", ".join(f"{domain or 'ai.onnx'} {version}" for domain, version in sorted(asked.items()))
            raise InputError(
                f"{where} asks for opset {found or 'none'}, this version runs ai.onnx {OPSET}; export it again"
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = 4
        try:
            self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime's own types have no common base
            raise InputError(f"{where} cannot be run ({_brief(error)}); export the policy again") from error
        inputs = [(i.name, i.type, tuple(i.shape)) for i in self._session.get_inputs()]
        outputs = [(o.name, o.type, tuple(o.shape)) for o in self._session.get_outputs()]
        fits = len(inputs) == 1 and inputs[0][:2] == ("observation", "tensor(float)") and len(inputs[0][2]) == 1
        fits = fits and [o[:2] for o in outputs] == [("scores", "tensor(float)"), ("phase", "tensor(int64)")]
        if not fits:
            raise InputError(f"{where} has inputs {inputs} and outputs {outputs}: no policy; export it again")
        self.inputs = int(inputs[0][2][0])
        self.phases = int(outputs[0][2][0])

    def __call__(self, values: Row) -> tuple[Row, int]:
        """Scores [P] and the phase.

        Raises:
            ArithmeticError: an input or a score is not finite, or no phase may be chosen.
        """
        if values.shape != (self.inputs,):
            raise ArithmeticError(f"the policy takes {self.inputs} inputs, not {values.shape}")
        if not np.isfinite(values).all():
            wrong = int(np.flatnonzero(~np.isfinite(values))[0])
            raise ArithmeticError(f"input {wrong} is {values[wrong]}: not finite")
        scores, phase = self.raw(values)
        if not np.isfinite(scores).all() or not 0 <= phase < self.phases:
            raise ArithmeticError("the policy's answer is not finite, or no phase may be chosen")
        return scores, phase

    def raw(self, values: Row) -> tuple[Row, int]:
        """The graph's own answer, unchecked: phase is -1 where it refuses."""
        scores, phase = self._session.run(None, {"observation": values.astype(np.float32, copy=False)})
        return scores, int(phase)


def opsets(content: bytes, where: str) -> dict[str, int]:
    """The operator sets that an ONNX file asks for: field 8 of its outermost message (domain 1, version 2).

    Raises:
        InputError: it is no such file.
    """
    try:
        found: dict[str, int] = {}
        for number, value in _fields(content):
            if number == 8 and isinstance(value, bytes):
                entry = dict(_fields(value))
                domain, version = entry.get(1, b""), entry.get(2, 0)
                assert isinstance(domain, bytes)
                assert isinstance(version, int)
                found[domain.decode()] = version
    except (IndexError, ValueError, AssertionError) as error:
        raise InputError(f"{where} is no ONNX file or is cut off; export the policy again") from error
    return found


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a protobuf message, one level deep: (number, value)."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield number, value
            continue
        if kind == 2:
            length, at = _varint(message, at)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise ValueError(f"wire type {kind}")
        if at + length > len(message):
            raise IndexError("cut off")
        yield number, message[at : at + length]
        at += length


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not byte & 0x80:
            return value, at
        if shift > 63:
            raise ValueError("a number that is too long")


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:160]
