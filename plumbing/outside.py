"""Code from outside the project: rewards, observations, networks, … by name or as objects; and whether it may run.

A thing is named `package.module:Name`, for any module that Python can import, or `path/to/file.py:Name`. The folder
of such a file is not searched for modules.

A name that a user gives is run. A name that stands in a run directory is somebody else's word: `check_allowed` is the
one gate that it passes before it is loaded.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import importlib.machinery
import inspect
import os
import re
import site
import sys
import sysconfig
import threading
import types
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from plumbing.errors import InputError, did_you_mean, printable
from plumbing.interpreter import ROOT

ALLOW = "--allow-code"
"""The option of a command that allows the code which a run directory names."""
_PACKING = threading.RLock()
"""What goes by value is known to the whole process while one thing is packed."""
_NAME = re.compile(r"(?P<place>[^\W\d]\w*(\.[^\W\d]\w*)*|[^\0\n]*\.py):(?P<name>[^\W\d]\w*(\.[^\W\d]\w*)*)")
FORMS = "package.module:Name or path/to/file.py:Name"


def is_outside(name: str) -> bool:
    """Whether this is a name of code from outside, such as `mine.rewards:comfort` or `mine/rewards.py:comfort`."""
    return _NAME.fullmatch(name) is not None


def absolute(name: str) -> str:
    """The name with its file's absolute path, so that a process in another folder finds it."""
    place, thing = _split(name)
    return f"{os.path.abspath(os.path.expanduser(place))}:{thing}" if _is_file(place) else name


def load_outside(name: str, what: str) -> Any:
    """The thing of that name. Its module is run, once for each content of its file.

    Args:
        what: the thing is, for messages: "reward", "observation", …

    Raises:
        InputError: there is no such module or file, it fails, or it has no such name.
    """
    place, thing = _split(absolute(name))
    module = _file_module(place, name, what) if _is_file(place) else _module(place, name, what)
    found: Any = module
    for part in thing.split("."):
        if not hasattr(found, part):
            known = [known for known in vars(module) if not known.startswith("_")]
            raise InputError(
                f"{what} {_shown(name)}: {place} has no {part!r}; name what it defines.{did_you_mean(part, known)}"
            )
        found = getattr(found, part)
    return found


def source_of(name: str, what: str) -> dict[str, str]:
    """Where a thing is defined: its absolute `name`, the `file`, and that file's `sha256`; "" where it has no file.

    Raises:
        InputError: as of `load_outside`.
    """
    place, _ = _split(absolute(name))
    found = load_outside(name, what)
    file: str | None = place
    if not _is_file(place):
        try:
            file = inspect.getsourcefile(found)
        except TypeError:  # neither a class nor a function
            file = getattr(sys.modules[place], "__file__", None)
    digest = hashlib.sha256(Path(file).read_bytes()).hexdigest() if file and os.path.isfile(file) else ""
    return {"name": absolute(name), "file": str(file or ""), "sha256": digest}


def check_allowed(names: Iterable[str], allow: bool, where: object) -> None:
    """The gate: refuses code that a run directory names, unless the user allows it. Runs nothing.

    Args:
        names: what the run directory names; those of built-in things, which have no colon, pass.
        where: the file that names them.

    Raises:
        InputError: code from outside is named, and `allow` is false.
    """
    foreign = [name for name in dict.fromkeys(names) if is_outside(name)]
    if foreign and not allow:
        listed = ", ".join(f"{_shown(name)} ({printable(_place(name))})" for name in foreign)
        raise InputError(
            f"{where} names code from outside this project: {listed}; read it, then allow it with {ALLOW} "
            f"(in Python: allow_code=True)"
        )


def add_code_argument(parser: argparse.ArgumentParser) -> None:
    """`--allow-code`, the same in every command that reads run directories."""
    parser.add_argument(
        ALLOW, action="store_true",
        help="run the code from outside this project that a run directory names (a reward, an observation, …): "
        "read it first, since it may do whatever you may",
    )  # fmt: skip


def pack(thing: Any) -> bytes:
    """A pickle that any process of ours can load.

    What the thing needs goes along by value where another process could not import it: lambdas, what `__main__`
    defines, files loaded by name, modules beside a user's script.

    Raises:
        InputError: it cannot be pickled.
    """
    import cloudpickle

    roots = _everywhere()
    ours = [module for module in list(sys.modules.values()) if _only_here(module, roots)]
    with _PACKING:
        for module in ours:
            cloudpickle.register_pickle_by_value(module)
        try:
            packed: bytes = cloudpickle.dumps(thing)
        except Exception as error:  # whatever its own pickling raises
            raise InputError(
                f"{printable(repr(thing), 60)} cannot be sent to another process ({_in_a_line(error)}); give a "
                "class or a function that holds no lock, thread or connection, or put it into a module on PYTHONPATH"
            ) from error
        finally:
            for module in ours:
                cloudpickle.unregister_pickle_by_value(module)
    return packed


def _split(name: str) -> tuple[str, str]:
    found = _NAME.fullmatch(name)
    if found is None:
        raise InputError(f"{_shown(name)} is no name of code from outside; write {FORMS}")
    return found["place"], found["name"]


def _is_file(place: str) -> bool:
    return place.endswith(".py")


def _shown(name: str) -> str:
    return repr(printable(name))


def _in_a_line(error: BaseException) -> str:
    return printable(f"{type(error).__name__}: {error}")


def _file_module(path: str, name: str, what: str) -> types.ModuleType:
    try:
        source = Path(path).read_bytes()
    except OSError as error:
        raise InputError(
            f"{what} {_shown(name)}: {printable(path)} cannot be read ({error.strerror}); "
            f"give the path of a Python file"
        ) from error
    digest = hashlib.sha256(os.fsencode(path) + b"\0" + source).hexdigest()
    label = f"outside_{re.sub(r'[^a-zA-Z0-9]', '_', Path(path).stem)}_{digest[:16]}"
    if label in sys.modules:
        return sys.modules[label]
    module = types.ModuleType(label)
    module.__file__ = path
    sys.modules[label] = module
    try:
        exec(compile(source, path, "exec"), module.__dict__)
    except (Exception, SystemExit) as error:
        del sys.modules[label]
        raise _failed(path, name, what, error) from error
    return module


def _module(place: str, name: str, what: str) -> types.ModuleType:
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name is not None and (place == error.name or place.startswith(f"{error.name}.")):
            raise InputError(
                f"{what} {_shown(name)}: Python finds no module {error.name!r}; install it, put its folder's "
                f"absolute path on PYTHONPATH, or name the file: path/to/file.py:Name"
            ) from error
        raise _failed(place, name, what, error) from error
    except (Exception, SystemExit) as error:
        raise _failed(place, name, what, error) from error


def _failed(place: str, name: str, what: str, error: BaseException) -> InputError:
    return InputError(
        f"{what} {_shown(name)}: {printable(place)} fails when it is imported ({_in_a_line(error)}); mend it there"
    )


def _place(name: str) -> str:
    """Where the code lies, found without running any of it."""
    place, _ = _split(absolute(name))
    if _is_file(place):
        return place
    package = place.partition(".")[0]
    found = importlib.machinery.PathFinder.find_spec(package)
    return f"module {place}, of {found.origin or 'a folder'}" if found else f"module {place}"


def _only_here(module: Any, roots: list[str]) -> bool:
    """Whether a module of Python source is one that other processes of ours would not find by its name."""
    file, name = getattr(module, "__file__", None), getattr(module, "__name__", None)
    if not isinstance(file, str) or not isinstance(name, str) or not file.endswith(".py"):
        return False
    if not os.path.isabs(file):  # some packages name a file that there is not, such as torch.ops
        return False
    if sys.modules.get(name) is not module or name == "__main__":  # cloudpickle sends that by value anyway
        return False
    stem = name.replace(".", os.sep)
    places = (f"{stem}.py", os.path.join(stem, "__init__.py"))
    return not any(file == os.path.join(root, place) for root in roots if file.startswith(root) for place in places)


def _everywhere() -> list[str]:
    """The folders that every process of ours searches."""
    paths = sysconfig.get_paths()
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    roots = [paths[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")]
    return [str(ROOT), *roots, site.getusersitepackages(), *(path for path in given if os.path.isabs(path))]
