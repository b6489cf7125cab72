"""How commands name a policy of a training: RUN_DIR for its last weights, RUN_DIR@STEPS for those of a validation."""

from __future__ import annotations

from pathlib import Path


def split_steps(name: str) -> tuple[Path, int | None]:
    """The run directory and the validation that `RUN_DIR` or `RUN_DIR@STEPS` names; a path that is there is meant
    as it stands."""
    plain, _, steps = name.rpartition("@")
    if plain and steps.isdecimal() and not Path(name).exists():
        return Path(plain), int(steps)
    return Path(name), None
