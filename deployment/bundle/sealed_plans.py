"""One signal's plans as a sealed folder, which a controller's computer can check before it writes any of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from deployment.bundle.manifest import Form, Manifest
from deployment.bundle.sealed import read_files, read_manifest
from deployment.nema.codec import decode, encode
from deployment.nema.objects import PlanObject, objects_from_json, objects_json, plan_objects, read_objects
from deployment.nema.pattern import Event, SignalPlans
from plumbing.errors import InputError
from plumbing.plain import json_bytes, parse
from signals.nema import NemaPlan

NTCIP, TIMING = "plans_ntcip.json", "timing.json"
PLAN = Form("intergreen plans", "plan", required=(NTCIP, TIMING))


@dataclass(frozen=True)
class SealedPlans:
    """Plans that were read and checked."""

    manifest: Manifest
    plans: SignalPlans
    """With the timing that they were made for."""
    day: tuple[Event, ...]
    objects: tuple[PlanObject, ...]
    """What is to be written: exactly these plans."""


def plan_files(plans: SignalPlans, day: Sequence[Event]) -> dict[str, bytes]:
    """One signal's files: what is to be written to its controller, and the timing tables that it is for."""
    objects = {
        "note": "write all in one transaction, then read back; systemPatternControl 0 lets the day plan decide",
        "objects": objects_json(plan_objects(plans, day)),
    }
    return {NTCIP: json_bytes(objects), TIMING: json_bytes({"unit": "s", "plan": encode(plans.nema)})}


def read_sealed_plans(path: Path, key: Path, now: datetime | None = None) -> SealedPlans:
    """Read a folder of plans and check all of it: signature, dates, digests, patterns against the timing.

    Args:
        key: public, of whoever may sign.
        now: the time that its validity is held against; by default this machine's clock.

    Raises:
        InputError: anything at all is wrong with it.
    """
    found = read_manifest(path, PLAN, key, now or datetime.now(UTC))
    files = read_files(path, PLAN, found)
    try:
        nema = decode(NemaPlan, parse(files[TIMING])["plan"])
        objects = objects_from_json(parse(files[NTCIP])["objects"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"plan {path} is inconsistent ({str(error)[:80]}); export it again") from error
    if nema.tls_id != found.tls_id:
        raise InputError(f"plan {path} is inconsistent (its files are of different signals); export it again")
    plans, day = read_objects(objects, nema)
    if sorted(plan_objects(plans, day), key=repr) != sorted(objects, key=repr):  # nothing goes along unchecked
        raise InputError(f"plan {path} holds objects that its patterns and its day plan do not need; export it again")
    return SealedPlans(found, plans, day, tuple(objects))
