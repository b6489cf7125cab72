"""Run directories for tests: an untrained policy, its weights drawn from a seed, as train.py would have left it."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

import export
from agents.network import PhaseScorer
from agents.registry import agent_settings
from agents.run import POLICY, save_tensors, write_settings
from deployment.bundle.manifest import MANIFEST, SIGNATURE, entries, new_key, sign
from deployment.emulator.setup import engine_id_for
from deployment.nema.codec import encode
from plumbing.command import run_command
from scenarios.loading import load
from signals.observation_names import find_observation
from signals.observations import PhaseObservation
from signals.timing import Timing

ENGINE_ID = engine_id_for("single", "C").hex()
"""Of the emulator of `single`."""
SERIAL = 20260101000000
WINDOW_S = 1200.0  # 240 decisions: enough golden inputs from one episode


def write_run(
    folder: Path, scenario: str = "single", sensing: str = "detectors", *, seed: int = 0, units: int = 32,
    agent: str = "dqn", window: tuple[float, float] | None = (0.0, WINDOW_S), observation: str = "phases",
    **timing: Any,
) -> Path:  # fmt: skip
    """A run directory of a policy that was never trained."""
    begin_s, end_s = window or (None, None)
    torch.manual_seed(seed)
    kind = find_observation(observation, sensing)
    assert issubclass(kind, PhaseObservation)
    scorer = PhaseScorer(kind.shape_for(1, 1), units)
    settings = asdict(agent_settings(agent, {"units": units}))
    job = {
        "scenario": scenario, "routes": [], "additional": [], "begin_s": begin_s, "end_s": end_s, "agent": agent,
        "agent_settings": settings, "steps": 1, "seed": seed, "workers": 1, "sensing": sensing, "reward": "time_loss",
        "faults": {"dropout": 0.0, "stuck_on": 0.0, "latency_s": 0.0}, "timing": asdict(Timing(**timing)),
        "warm_up_s": 0.0, "validate_every": 0, "validation_runs": 1, "started_from": "", "observation": observation,
    }  # fmt: skip
    files = load(scenario, begin_s=begin_s, end_s=end_s).hashes()
    about = {"name": scenario, "files": files, "licence": "Apache-2.0"}
    write_settings(
        folder,
        {
            "agent": agent,
            "agent_settings": settings,
            "sensing": sensing,
            "observation": observation,
            "scenario": about,
            "versions": {},
            "job": job,
        },
    )
    save_tensors(folder / POLICY, {"scorer": scorer.state_dict()})
    return folder


def exported_bundle(factory: pytest.TempPathFactory) -> Path:
    """The signed bundle of an untrained policy on `single`, made once for all tests; beside it key, key.pub and run.

    Nobody may write there.
    """
    base = factory.getbasetemp()
    shared = (base.parent if "popen-gw" in base.name else base) / "exported-bundle"  # one for all of xdist's workers
    if not shared.exists():
        made = factory.mktemp("export")
        new_key(made / "key")
        run = str(write_run(made / "run"))
        words = ["--key", str(made / "key"), "--controller", f"engine:{ENGINE_ID}", "--serial", str(SERIAL)]
        assert export.main(["bundle", run, "--out", str(made / "bundle"), "--with", "c", *words]) == 0
        with contextlib.suppress(OSError):  # another worker was faster
            made.rename(shared)
    return shared / "bundle"


def resigned(bundle: Path, to: Path, change: Callable[[dict[str, bytes], dict[str, Any]], object]) -> Path:
    """A copy whose files (by name) and manifest (as JSON) were changed by somebody who has the key."""
    files = {path.name: path.read_bytes() for path in bundle.iterdir() if path.name not in (MANIFEST, SIGNATURE)}
    manifest = json.loads((bundle / MANIFEST).read_bytes())
    change(files, manifest)
    manifest["files"] = encode(entries(files))
    sealed = json.dumps(manifest).encode()
    to.mkdir()
    for name, content in {**files, MANIFEST: sealed, SIGNATURE: sign(sealed, bundle.parent / "key")}.items():
        (to / name).write_bytes(content)
    return to


def status_of(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: object) -> tuple[int, str]:
    """Exit status of export.py and what it said on stderr."""
    monkeypatch.setattr(sys, "argv", ["export.py", *map(str, words)])
    with pytest.raises(SystemExit) as left:
        run_command(export.main)
    return int(left.value.code or 0), capsys.readouterr().err
