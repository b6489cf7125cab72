"""The phase network in compiled code and in torch's operations: the same numbers and slopes, but for rounding."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

from agents import compiled
from agents.network import MASKED, PhaseScorer, StateValue
from envs.native.library import SWITCH
from envs.sumo.setup import make_setup
from envs.workers.client import RemoteSimulation
from envs.workers.server import WorkerSetup
from scenarios.scenario import load
from signals.observations import ObservationShape
from tests.test_getters import needs_library

Network = type[PhaseScorer] | type[StateValue]
SHAPES = (ObservationShape(4, 16, 14, 9), ObservationShape(1, 1, 14, 9), ObservationShape(7, 23, 10, 6))


def situations(shape: ObservationShape, count: int) -> torch.Tensor:
    """Random rows: phases that do not exist, may not be chosen or serve nothing, movements without a phase."""
    draw = torch.Generator().manual_seed(count)
    phases = torch.rand(count, shape.phases, shape.phase_features, generator=draw)
    phases[:, :, 0] = (phases[:, :, 0] > 0.2).float()
    phases[:, :, 1] = (phases[:, :, 1] > 0.4).float() * phases[:, :, 0]
    service = (torch.rand(count, shape.phases * shape.movements, generator=draw) > 0.7).float()
    movements = torch.rand(count, shape.movements * shape.movement_features, generator=draw)
    return torch.cat((phases.flatten(1), service, movements), dim=1)


def pair(kind: Network, shape: ObservationShape, units: int) -> tuple[torch.nn.Module, torch.nn.Module]:
    torch.manual_seed(units)
    plain, quick = kind(shape, units), kind(shape, units, quick=True)
    assert quick.quick, "the library was not built"
    quick.load_state_dict(plain.state_dict())
    return plain, quick


@needs_library
@pytest.mark.parametrize("kind", [PhaseScorer, StateValue])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("units", "count"), [(64, 128), (64, 33), (40, 32), (7, 3), (16, 1)])
def test_scores_and_slopes_agree(kind: Network, shape: ObservationShape, units: int, count: int) -> None:
    plain, quick = pair(kind, shape, units)
    rows = situations(shape, count)
    outs = [network(rows) for network in (plain, quick)]
    torch.testing.assert_close(outs[1], outs[0], rtol=1e-5, atol=1e-5)
    assert ((outs[0] == MASKED) == (outs[1] == MASKED)).all()
    weight = torch.randn(outs[0].shape, generator=torch.Generator().manual_seed(1))
    for out in outs:
        out.mul(weight).sum().backward()
    for expected, found in zip(plain.parameters(), quick.parameters(), strict=True):
        assert expected.grad is not None
        assert found.grad is not None
        torch.testing.assert_close(found.grad, expected.grad, rtol=1e-4, atol=1e-4)


@needs_library
def test_each_width_of_registers_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor takes the widest library that it can; those that can't be run here are left out."""
    names = [name for name, needed in compiled.LIBRARIES.items() if needed <= compiled.processor_flags()]
    rows, found = situations(SHAPES[0], 100), {}
    try:
        for name in names:
            monkeypatch.setattr(compiled, "LIBRARIES", {name: compiled.LIBRARIES[name]})
            compiled.library.cache_clear()
            assert compiled.library() is not None, name
            plain, quick = pair(PhaseScorer, SHAPES[0], 40)
            for network in (plain, quick):
                network(rows).clamp(min=-10.0).square().sum().backward()
            for one, other in zip(plain.parameters(), quick.parameters(), strict=True):
                torch.testing.assert_close(other.grad, one.grad, rtol=1e-4, atol=1e-3)
            found[name] = [weight.grad for weight in quick.parameters()]
            monkeypatch.undo()
    finally:
        monkeypatch.undo()
        compiled.library.cache_clear()
    assert names[-1] == "libphases.so"
    if "libphases-avx512.so" in found:  # both fuse multiply and add: a training gives the same policy on either
        assert all(map(torch.equal, found["libphases-avx512.so"], found["libphases-avx2.so"]))


def test_what_the_processor_cannot_do_is_not_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []
    monkeypatch.setattr(compiled, "load_library", lambda path: tried.append(path.name))
    for flags, expected in (
        ("flags : fpu sse2 avx2 fma\n", ["libphases-avx2.so", "libphases.so"]),
        ("flags : fpu sse2 avx2 fma avx512f\n", list(compiled.LIBRARIES)),
        ("Features : fp asimd\n", ["libphases.so"]),
        (None, ["libphases.so"]),
    ):
        monkeypatch.setattr(compiled, "CPU_INFO", tmp_path / "cpuinfo")
        (tmp_path / "cpuinfo").write_text(flags) if flags else (tmp_path / "cpuinfo").unlink()
        tried.clear()
        assert compiled.library.__wrapped__() is None
        assert tried == expected


@needs_library
def test_slopes_agree_where_one_action_a_row_is_learned_from() -> None:
    plain, quick = pair(PhaseScorer, SHAPES[0], 64)
    rows = situations(SHAPES[0], 100)
    for network in (plain, quick):
        network(rows).gather(1, torch.zeros(100, 1, dtype=torch.long)).clamp(min=-10.0).square().mean().backward()
    for expected, found in zip(plain.parameters(), quick.parameters(), strict=True):
        torch.testing.assert_close(found.grad, expected.grad, rtol=1e-4, atol=1e-6)


@needs_library
def test_two_passes_may_wait_for_their_way_back_at_once() -> None:
    """The memory that passes share is never given to a second one while the first still needs it."""
    plain, quick = pair(PhaseScorer, SHAPES[0], 64)
    first, second = situations(SHAPES[0], 64), situations(SHAPES[0], 63)
    for network in (plain, quick):
        one, other = network(first), network(second)
        with torch.no_grad():
            network(situations(SHAPES[0], 65))
        (one.clamp(min=-10.0).sum() + other.clamp(min=-10.0).square().sum()).backward()
    for expected, found in zip(plain.parameters(), quick.parameters(), strict=True):
        torch.testing.assert_close(found.grad, expected.grad, rtol=1e-4, atol=1e-3)


@needs_library
def test_a_pass_goes_back_once() -> None:
    """Its memory is another pass's afterwards: a second time would give numbers that mean nothing."""
    _, quick = pair(PhaseScorer, SHAPES[0], 16)
    total = quick(situations(SHAPES[0], 4)).clamp(min=-10.0).sum()
    total.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="goes back once"):
        total.backward()


@needs_library
def test_what_is_not_a_number_stays_so() -> None:
    for kind in (PhaseScorer, StateValue):
        for name in dict(kind(SHAPES[0]).named_parameters()):
            _, quick = pair(kind, SHAPES[0], 16)
            with torch.no_grad():
                quick.get_parameter(name).fill_(torch.nan)
            out = quick(situations(SHAPES[0], 8))
            assert torch.isnan(out[out != MASKED]).any(), name


@needs_library
def test_a_copy_has_weights_of_its_own() -> None:
    _, quick = pair(PhaseScorer, SHAPES[0], 16)
    rows, twin = situations(SHAPES[0], 4), copy.deepcopy(quick)
    before = twin(rows)
    with torch.no_grad():
        for weight in quick.parameters():
            weight.add_(1.0)
    assert torch.equal(twin(rows), before)
    assert not torch.equal(quick(rows), before)


@needs_library
def test_real_situations_are_scored_alike() -> None:
    setup = WorkerSetup(make_setup(load("cologne3")))
    plain, quick = pair(PhaseScorer, setup.observation_shape, 64)
    random = np.random.default_rng(0)
    with RemoteSimulation(setup) as worker:
        worker.begin(1)
        for _ in range(60):
            mask = worker.snapshot.mask
            worker.decide(np.where(mask, random.random(mask.shape), -1.0).argmax(axis=1))
            rows = torch.from_numpy(worker.shared["observation"].copy())
            torch.testing.assert_close(quick(rows), plain(rows), rtol=1e-5, atol=1e-5)
        assert worker.snapshot.vehicles.any()


def test_a_library_of_other_sources_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled.library.cache_clear()
    try:
        monkeypatch.setattr(library, "sources_sha256", lambda folder: b"other")
        assert compiled.library() is None
        compiled.library.cache_clear()
        monkeypatch.undo()
        monkeypatch.setenv(SWITCH, "0")
        assert compiled.library() is None
        assert not PhaseScorer(SHAPES[0], quick=True).quick
    finally:
        compiled.library.cache_clear()
