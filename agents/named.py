"""Whatever decides, by what a command is given: a controller's name, a tuned one, a run directory, an ensemble, or
what export.py has made of a policy: a tree, a plan."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents.run_names import split_steps
from agents.tree import TreeController, read_tree
from controllers.base import Controller
from controllers.outside import make_outside
from controllers.parameters import read_tuned
from controllers.programs import GivenPrograms, ProgramControl
from controllers.registry import CONTROLLERS, make
from plumbing.command import check_text
from plumbing.digest import file_sha256
from plumbing.errors import InputError, printable
from plumbing.outside import is_outside, load_outside, source_of
from scenarios.xmlfile import broken


@dataclass(frozen=True)
class Named:
    """A controller that can be made again and again, and where it comes from."""

    name: str
    make: Callable[[], Controller | ProgramControl]
    learned: bool = False
    identity: str = ""
    """Of its settings and weights."""
    tuned: str = ""
    """How its parameters were found."""
    settings: tuple[Mapping[str, Any], ...] = ()
    """Of the runs that a policy comes from."""
    commands: tuple[str, ...] = ()
    """A line for each of these runs that trains it again."""
    changed: tuple[str, ...] = ()
    """Code from outside that has changed since these runs were trained."""

    @property
    def trained_on(self) -> str:
        """The scenarios of these runs."""
        names = (printable(s.get("scenario", {}).get("name", ""), 60) for s in self.settings)
        return ", ".join(dict.fromkeys(names))

    @property
    def tls_ids(self) -> tuple[tuple[str, ...], ...]:
        """The signals that these runs control: of each for which some were chosen."""
        chosen = (s.get("job", {}).get("tls_ids") for s in self.settings)
        return tuple(tuple(tls_ids) for tls_ids in chosen if tls_ids)


def find_controller(name: str, *, allow_code: bool = False) -> Named:
    """The controller of that name: `NAME`, `NAME@TUNED`, `package.module:CLASS`, `path/to/file.py:CLASS`, `RUN_DIR`,
    `RUN_DIR@STEPS`, `RUN_DIR+RUN_DIR`, `TREE.json`, `X.add.xml`.

    Args:
        allow_code: run the code from outside that a run directory names.

    Raises:
        InputError: there is none, or a run directory names code that is not allowed.
    """
    check_text(name)
    if name in CONTROLLERS:
        return Named(name, lambda: make(name))
    plain, _, file = name.partition("@")
    if plain in CONTROLLERS and file:
        tuned = read_tuned(Path(file), plain)
        make(plain, **tuned.parameters)
        identity = json.dumps(tuned.parameters, sort_keys=True)
        label = f"{plain}@{tuned.label}"
        return Named(label, lambda: make(plain, **tuned.parameters), identity=identity, tuned=tuned.origin)
    if is_outside(name) and not Path(name).exists():
        factory = load_outside(name, "controller")
        make_outside(name, factory)
        return Named(name, lambda: make_outside(name, factory), identity=source_of(name, "controller")["sha256"])
    if name.endswith(".json") and Path(name).is_file():
        tree = read_tree(Path(name))
        return Named(name, lambda: TreeController(tree), learned=True, identity=file_sha256(Path(name)))
    if name.endswith(".add.xml") and Path(name).is_file():
        try:
            xml = Path(name).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise broken(Path(name), "controller", error) from error
        return Named(name, lambda: GivenPrograms(xml), identity=file_sha256(Path(name)))
    if os.sep not in name and not any(split_steps(part)[0].exists() for part in (name, *name.split("+"))):
        make(name)  # says which there are
    return _policy(name, allow_code)


def _policy(name: str, allow_code: bool) -> Named:
    import torch  # takes seconds, so only where a policy needs it

    from agents.choice import how_chosen
    from agents.code import changed, code_of, sources_of
    from agents.job import command_of
    from agents.run import joined, load_controller, read_settings, run_sha256

    torch.set_num_threads(1)  # runs are what goes in parallel
    parts = [split_steps(part) for part in ([name] if Path(name).exists() else name.split("+"))]
    paths = [path for path, _ in parts]
    # read once: what passes the gate is what is run, and a training that goes on meanwhile changes no later run
    settings = tuple(map(read_settings, paths))
    identity = " ".join(run_sha256(*part) for part in parts)
    members = [
        load_controller(path, steps=steps, allow_code=allow_code, settings=of)
        for (path, steps), of in zip(parts, settings, strict=True)
    ]
    if identity != " ".join(run_sha256(*part) for part in parts):
        raise InputError(f"{name} is being written just now; try again, or wait for its training to end")

    def load_policy() -> Controller:
        each = [member.again() for member in members]
        return each[0] if len(each) == 1 else joined(each, paths)

    load_policy()  # whether they can be joined is better known now than in the first run
    commands = tuple(command_of(of, str(path)) for of, path in zip(settings, paths, strict=True))
    codes = [code_of(of, policy=True) for of in settings]  # it is loaded already, so it was allowed
    identity = " ".join([identity, *(source["sha256"] for code in codes for source in sources_of(code))])
    return Named(
        name, load_policy, learned=True, identity=identity, settings=settings, commands=commands,
        tuned="; ".join(filter(None, map(how_chosen, settings))),
        changed=tuple(what for of, code in zip(settings, codes, strict=True) for what in changed(of, code)),
    )  # fmt: skip
