"""The only door to SUMO: what a file holds before SUMO is handed it.

SUMO writes files wherever its input tells it to: a detector, a plan, a vehicle's device parameter may name any file
that the user may write. So each file is read here first, whatever its kind and wherever it came from, and lists of
elements, attributes and parameters (sumo_input.yaml) decide at every depth. A file in which all is listed is handed
over as it is; of any other a copy, without the rest. What a file includes is put in its place, so that no file that
SUMO reads names another one. A line says what was left out.
"""

from __future__ import annotations

import codecs
import hashlib
import logging
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

import yaml

from plumbing.cache import cached_file
from plumbing.errors import LONGEST_LINE, InputError, printable
from scenarios.xmlfile import UNREADABLE, broken, named_file, open_xml, require_file

log = logging.getLogger("intergreen.input")
NOWHERE = "NUL"
"""SUMO's own word for no output, on every platform."""
_DETECTORS = frozenset(
    {
        "e1Detector", "inductionLoop", "instantInductionLoop", "e2Detector", "laneAreaDetector", "e3Detector",
        "entryExitDetector", "routeProbe",
    }
)  # fmt: skip
"""Their `file` is an output. They stay: a signal may be driven by them."""
_TRIGGERS = frozenset({"calibrator", "rerouter", "variableSpeedSign"})
"""Their `file` holds what may as well stand inside of them."""
_SCHEMA = "xsi:noNamespaceSchemaLocation"
_UNSAID = frozenset({"metadata", _SCHEMA})
"""Elements that SUMO ignores."""
_SCHEMAS = ("http://sumo.dlr.de/xsd/", "http://sumo-sim.org/xsd/", "http://sumo.sf.net/xsd/")
_UTF_8 = frozenset({"utf-8", "us-ascii"})
_PLAIN_NAME = re.compile(r"[^\x00-\x1f,%]+")
MOST_DEPTH, MOST_FILES, MOST_INCLUDING = 64, 1000, 32
"""No file of SUMO's is nested deeper, includes more files, or is included by more, one in the other."""
_CHUNK_BYTES, _MOST_CHUNK_BYTES = 1 << 16, 1 << 24

Unwanted = Callable[[str, Mapping[str, str]], bool]
"""Whether an element that stands at the top of a file is to be left out, by its tag and attributes."""


@dataclass(frozen=True)
class Lists:
    """The elements and attributes that are admitted."""

    elements: frozenset[str]
    attributes: frozenset[str]
    devices: frozenset[str]
    signal_types: frozenset[str]
    projection: frozenset[str]
    options: Mapping[str, str]
    """Options that are honoured, with SUMO's name for the kind of their value: BOOL, INT, FLOAT, TIME, …"""
    of_the_run: Mapping[str, str]
    """Options that a run sets itself, with SUMO's defaults."""
    left_out: Mapping[str, str]
    """Options that SUMO is not handed, with its defaults."""
    synonyms: Mapping[str, str]


@cache
def lists() -> Lists:
    """The lists of sumo_input.yaml."""
    content: dict[str, Any] = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
    synonyms = content.pop("synonyms")
    options = {name: kind for kind, text in content.pop("options").items() for name in text.split()}
    of_the_run, left_out = (
        dict(word.split("=", 1) for word in content.pop(name).split()) for name in ("of_the_run", "left_out")
    )
    words = {name: frozenset(text.split()) for name, text in content.items()}
    return Lists(**words, options=options, of_the_run=of_the_run, left_out=left_out, synonyms=synonyms)


def admitted(path: Path, what: str, unwanted: Unwanted | None = None) -> Path:
    """The file to hand to SUMO: the file itself, or a copy with only its admitted content.

    Args:
        what: the file's kind, for messages: "network", "route file", "additional file".
        unwanted: further elements to leave out.

    Raises:
        InputError: it cannot be read, has a document type, or includes a file outside of its folder.
    """
    first = _Door(path, what, unwanted)
    first.read()
    if first.clean and _means_itself(path):
        return path
    note_left_out(f"{what} {path}", first.left_out)
    return _copy(path, what, unwanted)


def admitted_text(xml: str, what: str) -> Path:
    """The same of an additional file that is no file yet, such as the programs in a replay."""
    data = xml.encode()
    path = cached_file(f"programs/{hashlib.sha256(data).hexdigest()[:20]}.add.xml", lambda: data)
    return admitted(path, what)


def parts(path: Path, what: str) -> list[Path]:
    """A file and all that it includes, in the order of reading.

    Raises:
        InputError: as `admitted`.
    """
    door = _Door(path, what, None)
    door.read()
    return door.files


def left_out_line(name: str, what: Counter[str], most: int = 6) -> str:
    """The content left out of a file, in one line; of many things, the `most` most frequent ones by name."""
    told = [printable(word, 60) + (f" ({count})" if count > 1 else "") for word, count in what.most_common(most)]
    more = f" and {len(what) - most} more" if len(what) > most else ""
    return f"{name}: left out, as it would write a file or is no input of SUMO's: {', '.join(told)}{more}"


def note_left_out(name: str, left_out: Counter[str]) -> None:
    """Say once what was left out of a file."""
    if left_out:
        say_once(left_out_line(name, left_out))


@cache
def say_once(line: str) -> None:
    """Warn, once in a process."""
    log.warning("%s", printable(line, LONGEST_LINE))


def _means_itself(path: Path) -> bool:
    """Whether SUMO opens the file of this very name: it prunes, splits and decodes names, and puts variables in."""
    name = str(path)
    return name == name.strip() and "${" not in name and _PLAIN_NAME.fullmatch(name) is not None


def _copy(path: Path, what: str, unwanted: Unwanted | None) -> Path:
    written: list[str] = ['<?xml version="1.0" encoding="UTF-8"?>\n']
    _Door(path, what, unwanted, written.append).read()
    data = "".join(written).encode()
    copy = cached_file(f"sumo-input/{hashlib.sha256(data).hexdigest()[:20]}.xml", lambda: data)
    if not _means_itself(copy):
        raise InputError(f"SUMO takes {copy} for another name; set XDG_CACHE_HOME to a folder of plain letters")
    return copy


def _names_no_grid(projection: str) -> bool:
    """Whether a projection is one of plain parameters: PROJ takes others from files."""
    words = [word.partition("=") for word in projection.split()]
    return projection in ("!", "-") or all(
        key[:1] == "+" and key[1:] in lists().projection and re.fullmatch(r"[\w.,:+-]*", value)
        for key, _, value in words
    )


_LOOKED_AT: Mapping[str, Callable[[str], bool]] = {
    "projParameter": _names_no_grid,
    "emissionClass": lambda name: ".." not in name and not name.startswith("/"),
}
"""Attributes whose value may make SUMO open a file."""


class _Door:
    """One way through a file and all that it includes, with or without writing down what may pass."""

    def __init__(
        self, path: Path, what: str, unwanted: Unwanted | None, write: Callable[[str], object] | None = None
    ) -> None:
        self._path, self.what, self._unwanted, self.write = require_file(path, what), what, unwanted, write
        self._home = path.resolve().parent
        self.lists = lists()
        self.clean = True
        """Whether all of the file may pass as it is."""
        self.left_out: Counter[str] = Counter()
        self.files: list[Path] = []

    def read(self) -> None:
        """Read the file."""
        self._feed(self._path, (), inside=False, top=True)

    def _feed(self, path: Path, above: tuple[Path, ...], *, inside: bool, top: bool) -> None:
        """Read one file.

        Args:
            above: those that include it, resolved.
            inside: whether its root's content stands in the place of what named it.
            top: whether that content is the first file's own, and not that of an element in it.
        """
        require_file(path, self.what)
        if path.resolve() in above:
            raise InputError(
                f"{self.what} {above[-1]} includes {path}, which includes it again; leave one of the two out"
            )
        if len(above) >= MOST_INCLUDING or len(self.files) >= MOST_FILES:
            raise InputError(f"{self.what} {self._path} includes too many files; put what they hold into one")
        self.files.append(path)
        reading = _Reading(self, path, (*above, path.resolve()), inside, top)
        try:
            with open_xml(path) as stream:
                size = _CHUNK_BYTES
                while chunk := stream.read(size):
                    reading.take(chunk)
                    size = min(2 * size, _MOST_CHUNK_BYTES)  # a long token is read again with each piece of it
                reading.parser.Parse(b"", True)
        except (expat.ExpatError, *UNREADABLE) as error:
            raise broken(path, self.what, error) from error

    def follow(self, path: Path, href: str, above: tuple[Path, ...], *, top: bool = False) -> None:
        """Put the content of a file that another one names in its place."""
        self.clean = False
        self._feed(named_file(path, href, self._home, self.what), above, inside=True, top=top)

    def drop(self, what: str) -> None:
        """Note that something stays outside."""
        self.clean = False
        if what not in _UNSAID:
            self.left_out[what] += 1

    def wants(self, tag: str, attributes: Mapping[str, str], *, top: bool) -> bool:
        """Whether an element may pass, as far as its tag says it.

        Raises:
            InputError: it is a signal's program of a type that cannot.
        """
        if tag == "tlLogic" and (kind := attributes.get("type", "static")) not in self.lists.signal_types:
            raise InputError(
                f"{self.what} {self._path}: tlLogic {attributes.get('id')!r} is of type {kind!r}; "
                f"give it one of {', '.join(sorted(self.lists.signal_types))}"
            )
        if top and self._unwanted is not None and self._unwanted(tag, attributes):
            self.clean = False  # its own doing, so nothing to tell
            return False
        if tag == "param" and not self._parameter(attributes.get("key", "")):
            self.drop(f"param {attributes.get('key')}")
            return False
        if tag not in self.lists.elements:
            self.drop(tag)
            return False
        return True

    def _parameter(self, key: str) -> bool:
        """Whether a parameter may pass. A signal's `file` is where its detectors write."""
        first, _, rest = key.partition(".")
        if first not in ("has", "device"):
            return key != "file"
        device, _, rest = rest.partition(".")
        return device in self.lists.devices and rest.rpartition(".")[2] not in ("file", "files", "output")

    def attributes(self, tag: str, given: dict[str, str]) -> dict[str, str]:
        """The attributes that may pass."""
        if given.keys() <= self.lists.attributes and not given.keys() & _LOOKED_AT.keys():
            return given
        kept: dict[str, str] = {}
        for name, value in given.items():
            of_schema = name == "xmlns:xsi" or (name == _SCHEMA and value.startswith(_SCHEMAS))
            if name in _LOOKED_AT and not _LOOKED_AT[name](value):
                self.drop(f"{tag} {name}")
                if name == "projParameter":
                    kept[name] = "!"  # no projection; SUMO asks for one
            elif of_schema or name in self.lists.attributes:
                kept[name] = value
            elif name == "file" and tag in _DETECTORS:
                kept[name] = NOWHERE
                if value not in (NOWHERE, "/dev/null"):
                    self.drop(f"{tag} file")
                elif value != NOWHERE:
                    self.clean = False
            elif name != "file" or tag not in _TRIGGERS:  # such a file is put inside
                self.drop(name if name in _UNSAID else f"{tag} {name}")
        return kept


class _Reading:
    """The handlers of one file."""

    def __init__(self, door: _Door, path: Path, above: tuple[Path, ...], inside: bool, top: bool) -> None:
        self._door, self._path, self._above, self._inside, self._top = door, path, above, inside, top
        self._depth = 0
        self._outside = 0
        """How deep in something that stays outside."""
        parser = self.parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        parser.StartDoctypeDeclHandler = self._doctype
        parser.XmlDeclHandler = self._declaration
        self._open: list[str] = []

    def take(self, chunk: bytes) -> None:
        """Read on."""
        if self._depth == 0 and (chunk.startswith((codecs.BOM_UTF16_BE, codecs.BOM_UTF16_LE)) or b"\0" in chunk[:4]):
            self._door.clean = False
        self.parser.Parse(chunk, False)

    def _doctype(self, *_: object) -> None:
        raise InputError(
            f"{self._door.what} {self._path} has a document type (<!DOCTYPE …>), which no file of SUMO's needs; "
            "take it out"
        )

    def _declaration(self, version: str, encoding: str | None, standalone: int) -> None:
        """Another reader might read another encoding otherwise: SUMO gets a copy in UTF-8."""
        del standalone
        if version != "1.0" or (encoding or "utf-8").lower() not in _UTF_8:
            self._door.clean = False

    def _start(self, tag: str, given: dict[str, str]) -> None:
        depth, self._depth = self._depth, self._depth + 1
        if depth >= MOST_DEPTH:
            raise InputError(f"{self._door.what} {self._path} is nested more than {MOST_DEPTH} deep; make it flat")
        top = self._top and depth == 1
        if self._outside:
            self._outside += 1
        elif depth == 0:
            self._root(tag, given)
        elif tag == "include":
            self._outside = 1
            self._door.follow(self._path, given.get("href", ""), self._above, top=top)
        elif self._door.wants(tag, given, top=top):
            self._pass(tag, given)
        else:
            self._outside = 1

    def _root(self, tag: str, given: dict[str, str]) -> None:
        """SUMO does not care how a root is called, unless it is something to act on."""
        if self._inside:
            self._open.append("")
        elif tag in self._door.lists.elements:
            self._pass(tag, given)
        else:
            self._door.clean = False
            self._pass("additional", {})

    def _pass(self, tag: str, given: dict[str, str]) -> None:
        kept = self._door.attributes(tag, given)
        if self._door.write is not None:
            self._door.write(f"<{tag}{''.join(f' {name}={quoteattr(value)}' for name, value in kept.items())}>")
        self._open.append(tag)
        if "file" in given and tag in _TRIGGERS:
            self._door.follow(self._path, given["file"], self._above)

    def _end(self, tag: str) -> None:
        self._depth -= 1
        if self._outside:
            self._outside -= 1
        elif self._open[-1]:
            closed = self._open.pop()
            if self._door.write is not None:
                self._door.write(f"</{closed}>")
        else:
            self._open.pop()

    def _text(self, text: str) -> None:
        if self._door.write is not None and not self._outside:
            self._door.write(escape(text))
