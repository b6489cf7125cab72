"""The log as a file: parts, the chain of digests, and what is found wrong in it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from deployment.field.eventlog import EventLog, LogReader, chained, line, read_log
from deployment.field.reading import Reading
from plumbing.errors import InputError

EVENTS = 40


def write(path: Path, *, rotate_bytes: int = 150, keep: int = 14) -> list[str]:
    """A log of events in parts; returns the digests that were told when a part was full."""
    log = EventLog(path, {"bundle": "B"}, rotate_bytes=rotate_bytes, keep=keep)
    told = []
    for n in range(EVENTS):
        told.append(log.turn(lambda n=n: {"seen": {"events": n}}))  # type: ignore[misc]
        log.write({"k": "event", "n": n})
    log.close()
    assert not log.failure
    return [digest for digest in told if digest] + [log.digest]


def events(path: Path) -> list[int]:
    return [record["n"] for record in read_log(path) if record["k"] == "event"]


def refused(path: Path) -> str:
    """The one line with which it is."""
    with pytest.raises(InputError) as caught:
        list(read_log(path))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def rechained(lines: list[bytes]) -> list[bytes]:
    """The same records with a chain that holds, as somebody makes it who means to."""
    digest, made = "", []
    for text in lines:
        body = line({name: value for name, value in json.loads(text).items() if name != "h"})
        digest = chained(digest, body.encode())
        made.append(f'{body[:-1]},"h":"{digest}"}}\n'.encode())
    return made


# --- parts


def test_the_log_is_written_in_parts_and_read_as_one(tmp_path: Path) -> None:
    path = tmp_path / "day[1].jsonl"  # no pattern of files
    told = write(path)
    assert len(list(tmp_path.iterdir())) == len(told) > 10
    assert events(path) == list(range(EVENTS))
    reader = LogReader(path)
    assert sum(1 for _ in reader) == reader.lines == EVENTS + len(told) + 1  # a start each, and the end
    assert (reader.first_part, reader.last_part, reader.ended) == (1, len(told), True)
    assert reader.digest == told[-1]
    for digest in told:
        list(LogReader(path, digest))


def test_each_part_begins_with_what_is_known_so_that_the_oldest_may_go(tmp_path: Path) -> None:
    path = tmp_path / "day.jsonl"
    write(path, keep=3)
    assert {file.name for file in tmp_path.iterdir()} == {"day.jsonl", "day.jsonl.1", "day.jsonl.2", "day.jsonl.3"}
    reader = LogReader(path)
    first, *rest = reader
    assert first["part"] == reader.first_part == reader.last_part - 3
    assert first["bundle"] == "B"
    assert first["state"] == {"seen": {"events": rest[0]["n"]}}
    assert [r["n"] for r in rest if r["k"] == "event"] == list(range(rest[0]["n"], EVENTS))


@pytest.mark.parametrize("name", ["day.jsonl", "day.jsonl.1", "day.jsonl.7"])
def test_a_log_holds_one_run_and_no_part_of_an_older_one(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("{}\n")
    with pytest.raises(InputError, match=f"{name} is there already"):
        EventLog(tmp_path / "day.jsonl", {})
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_a_stale_part_of_an_older_run_is_never_prepended(tmp_path: Path) -> None:
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "log")
    parts = sorted((tmp_path / "new").iterdir(), key=lambda file: -int(file.suffix[1:] or 0))
    (tmp_path / "old" / parts[0].name).rename(tmp_path / "new" / f"log.{len(parts)}")
    assert "of another run" in refused(tmp_path / "new" / "log")


@pytest.mark.parametrize("left", ["no newest part", "an empty one", "a line cut off"])
def test_a_kill_while_a_part_begins_loses_nothing(left: str, tmp_path: Path) -> None:
    path = tmp_path / "log"
    write(path)
    newest = path.read_bytes()
    held = len(events(path))
    path.unlink()
    if left != "no newest part":
        path.write_bytes(b"" if left == "an empty one" else newest[:50])
    reader = LogReader(path)
    found = [record["n"] for record in reader if record["k"] == "event"]
    assert found == list(range(len(found)))
    assert held - 10 < len(found) < held
    assert not reader.ended


# --- the chain


TAMPERING: dict[str, Callable[[list[bytes], int], list[bytes]]] = {
    "edited": lambda lines, n: [*lines[:n], lines[n].replace(b'"n":', b'"n":1'), *lines[n + 1 :]],
    "taken out": lambda lines, n: lines[:n] + lines[n + 1 :],
    "put in twice": lambda lines, n: lines[: n + 1] + lines[n:],
    "moved": lambda lines, n: [*lines[: n - 1], lines[n], lines[n - 1], *lines[n + 1 :]],
    "emptied": lambda lines, n: [*lines[:n], b"\n", *lines[n + 1 :]],
    "cut in the middle": lambda lines, n: [*lines[:n], lines[n][:12] + b"\n", *lines[n + 1 :]],
    "joined": lambda lines, n: [*lines[:n], lines[n][:-1], *lines[n + 1 :]],
    "with its digest changed": lambda lines, n: [*lines[:n], lines[n][:-4] + b'0"}\n', *lines[n + 1 :]],
}


@pytest.mark.parametrize("how", TAMPERING)
def test_whatever_was_done_to_a_line_is_found_and_where(how: str, tmp_path: Path) -> None:
    path = tmp_path / "log"
    write(path, rotate_bytes=10**6)
    lines = path.read_bytes().splitlines(keepends=True)
    for n in range(2, EVENTS):
        spoilt = TAMPERING[how](lines, n)
        if spoilt == lines:  # the digest's last figure was 0
            continue
        path.write_bytes(b"".join(spoilt))
        at = {"put in twice": n + 2, "moved": n}.get(how, n + 1)
        assert f"log {path}, line {at}: " in refused(path)


def test_the_last_line_of_all_is_held_too(tmp_path: Path) -> None:
    path = tmp_path / "log"
    write(path)
    path.write_bytes(path.read_bytes().replace(b'"end"', b'"and"'))
    assert "the chain of digests breaks here" in refused(path)


def test_a_part_that_is_missing_or_changed_its_place_is_found(tmp_path: Path) -> None:
    path = tmp_path / "log"
    parts = len(write(path))
    (tmp_path / "log.3").rename(tmp_path / "away")
    assert f"part {parts - 2} follows part {parts - 4}; bring the missing parts back" in refused(path)
    (tmp_path / "log.4").rename(tmp_path / "log.3")
    (tmp_path / "away").rename(tmp_path / "log.4")
    assert "bring the missing parts back" in refused(path)


def test_a_part_that_was_shortened_is_found_in_the_next_one(tmp_path: Path) -> None:
    path = tmp_path / "log"
    write(path)
    part = tmp_path / "log.2"
    part.write_bytes(b"".join(part.read_bytes().splitlines(keepends=True)[:-1]))
    assert f"log {tmp_path / 'log.1'}, line 1: the chain of digests breaks here" in refused(path)


def test_a_digest_that_was_kept_elsewhere_finds_what_the_chain_cannot(tmp_path: Path) -> None:
    path = tmp_path / "log"
    kept = write(path, rotate_bytes=10**6)[-1]
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-3]))  # cut off at its end
    assert events(path) == list(range(EVENTS - 2))
    assert not LogReader(path).ended
    with pytest.raises(InputError, match="it was cut, or written anew"):
        list(LogReader(path, kept))
    path.write_bytes(b"".join(rechained(lines[:5] + lines[6:])))  # or written anew
    assert events(path) == [n for n in range(EVENTS) if n != 4]
    with pytest.raises(InputError, match=f"no line has the digest {kept}"):
        list(LogReader(path, kept))


def test_the_digests_can_be_checked_by_other_means(tmp_path: Path) -> None:
    """As the module's first lines say: SHA-256 over the last digest and the line without its own."""
    import hashlib

    path, before = tmp_path / "log", ""
    write(path, rotate_bytes=10**6)
    for text in path.read_text().splitlines():
        body, _, digest = text.rpartition(',"h":"')
        before = hashlib.sha256(f"{before}{body}}}".encode()).hexdigest()[:32]
        assert digest == f'{before}"}}'


# --- what is no log


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"hello\n", "not a line as control.py writes it"),
        (b"\xff\xfe\x00\n", "not a line as control.py writes it"),
        (b'{"k":"start","wall":"2026-01-01"}\n', "not a line as control.py writes it"),
        (b'{"k":"start","t":NaN,"h":"%s"}\n' % (b"0" * 32), "no finite number"),
        (b'{"k":"start","k":"poll","h":"%s"}\n' % (b"0" * 32), "is there twice"),
        (b'{"a":%s,"h":"%s"}\n' % (b"[" * 10**5, b"0" * 32), "not a record"),
        (b'{"k":"poll","h":"%s"}\n' % (b"0" * 32), "a part begins with its line 'start'"),
        (b'{"k":["start"],"h":"%s"}\n' % (b"0" * 32), "a part begins with its line 'start'"),
        (b'{"k":"start","run":1,"part":1,"h":"%s"}\n' % (b"0" * 32), "which run and part"),
        (b'{"k":"start","run":"a","part":true,"h":"%s"}\n' % (b"0" * 32), "which run and part"),
        (b"{" * 5 * 2**20, "not a line as control.py writes it"),
    ],
)
def test_what_is_no_log_is_refused_in_one_line(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(content)
    assert words in refused(path)


def test_a_line_that_a_kill_cut_off_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "log"
    write(path, rotate_bytes=10**6)
    whole = path.read_bytes()
    for cut in range(1, 70):
        path.write_bytes(whole[:-cut])
        assert EVENTS - 1 <= len(events(path)) <= EVENTS


# --- writing


def test_a_poll_is_logged_by_what_changed(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "log", {})
    log.poll(Reading(0.2, {"a.1": 1, "b.1": 2}), ("a.1", "b.1"), slow=False)
    log.poll(Reading(0.4, {"a.1": 1}), ("a.1", "b.1"), slow=True)
    log.close()
    _, first, second, _ = read_log(tmp_path / "log")
    assert first == {"k": "poll", "t": 0.2, "v": {"a.1": 1, "b.1": 2}}
    assert second == {"k": "poll", "t": 0.4, "v": {}, "slow": True, "missing": ["b.1"]}


@pytest.mark.parametrize("how", ["removed", "replaced", "cut", "lengthened"])
def test_a_log_that_somebody_took_or_cut_is_noticed(how: str, tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = EventLog(path, {})
    log.write({"k": "event", "n": 0})
    assert log.turn(dict) == ""
    assert not log.failure
    if how == "removed":
        path.unlink()
    elif how == "replaced":
        copy = tmp_path / "copy"
        copy.write_bytes(path.read_bytes())
        copy.replace(path)
    else:
        path.write_bytes(path.read_bytes()[:-9] if how == "cut" else path.read_bytes() + b"{}\n")
    log.turn(dict)
    assert log.failure.startswith("the log cannot be written: ")
    log.write({"k": "event", "n": 1})  # nothing is raised, and nothing written
    log.close()
    assert how == "removed" or b'"n":1' not in path.read_bytes()
