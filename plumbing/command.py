"""Shared by all commands: one line for bad input, exit statuses, names that are text."""

from __future__ import annotations

import argparse
import contextlib
import errno
import json
import os
import select
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, TextIO

from plumbing.errors import LONGEST_LINE, InputError, printable, system_error, visible
from plumbing.held import sweep_scratch

INTERRUPTED = 130  # as shells report a program that Ctrl-C ended
_USERS_TO_SOLVE = {
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM,
    errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.EMFILE,
}  # fmt: skip


def run_command(main: Callable[[list[str] | None], int]) -> NoReturn:
    """Run a command and leave with its exit status: 0 ok, 1 failed, 2 bad input, 130 after Ctrl-C.

    What killed commands have left in the temporary folder goes first.
    """
    signal.signal(signal.SIGTERM, _terminate)
    sweep_scratch()
    try:
        for word in sys.argv[1:]:
            check_text(word)
        status = main(None)
        sys.stdout.flush()
    except InputError as error:
        status = _complain(str(error))
    except KeyboardInterrupt as error:
        say(" ".join(map(str, error.args or ("stopped",))), error=True)
        status = INTERRUPTED
    except BrokenPipeError:  # as with `| head`: what was asked for has been read
        if not _nobody_reads(sys.stdout):
            raise  # some other pipe, such as a worker's
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    except Exception as error:
        refused = system_error(error)
        if refused is None or refused.errno not in _USERS_TO_SOLVE:
            raise
        where = f"{refused.filename}: " if refused.filename else ""
        status = _complain(f"{where}{refused.strerror}; make room or choose another place")
    sys.exit(status)


def given_in(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> set[str]:
    """The options that a command line names, those with the default's value included: by what `parse_args` calls
    them."""
    unset = object()
    names = vars(parser.parse_args(arguments))
    told = vars(parser.parse_args(arguments, argparse.Namespace(**dict.fromkeys(names, unset))))
    return {name for name, value in told.items() if value is not unset}


def _nobody_reads(stream: TextIO) -> bool:
    """Whether a stream is a pipe whose reader has gone."""
    try:
        poller = select.poll()
        poller.register(stream.fileno(), 0)
        return any(events & (select.POLLERR | select.POLLNVAL) for _, events in poller.poll(0))
    except (OSError, ValueError, AttributeError):  # no file behind it, or a system without poll
        return True


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    """End as after Ctrl-C, so that nothing is left behind."""
    del number, frame
    raise KeyboardInterrupt("terminated")


def _complain(message: str) -> int:
    print(f"error: {printable(message, LONGEST_LINE)}", file=sys.stderr)
    return 2


def say(text: object, *, error: bool = False) -> None:
    """Print lines for people, on stderr where they tell of something wrong.

    Names in them may come from outside, so characters that cannot be seen are spelled out.
    """
    print("\n".join(map(visible, str(text).split("\n"))), file=sys.stderr if error else sys.stdout, flush=True)


def say_json(content: Any) -> None:
    """Print plain values for machines."""
    print(json.dumps(content, indent=2), flush=True)


def check_text(name: str | Path) -> None:
    """Raises InputError for a name that is no text: no report or table could hold it."""
    try:
        str(name).encode()
    except UnicodeEncodeError as error:
        raise InputError(f"the name {str(name)!a} holds bytes that are no UTF-8; choose or make another") from error
