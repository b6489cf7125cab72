"""SUMO's own schemas, as they lie in its wheel: which elements there are, and what of them names a file."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import sumo

XSD = "{http://www.w3.org/2001/XMLSchema}"
ROOT = Path(sumo.SUMO_HOME) / "data" / "xsd"
KINDS = ("net_file", "additional_file", "routes_file", "tllogic_file", "state_file", "taz_file", "meandata_file")
"""The schemas of what SUMO may be handed."""
FILES = frozenset({"file", "output", "dest", "edgesFile", "href", "imgFile", "osgFile"})
"""Attributes that name a file, in any of these."""

Elements = dict[str, dict[str, str]]


@cache
def elements() -> Elements:
    """Per element of all kinds, its attributes with "required" or "optional"; without those of configurations."""
    found: Elements = {}
    for kind in KINDS:
        for name, attributes in _of(kind).items():
            found.setdefault(name, {}).update(attributes)
    return found


@cache
def writers() -> frozenset[str]:
    """Elements with an attribute that names a file."""
    return frozenset(name for name, attributes in elements().items() if FILES & attributes.keys())


@cache
def options() -> dict[str, str]:
    """SUMO's options with their types, such as "fileOptionType"."""
    tree = ElementTree.parse(ROOT / "types" / "sumoConfigurationType.xsd").getroot()
    return {
        e.get("name", ""): e.get("type", "")
        for section in tree.iter(f"{XSD}complexType")
        if section.get("name") != "sumoConfigurationType"
        for e in section.iter(f"{XSD}element")
    }


@cache
def devices() -> frozenset[str]:
    """Names of the devices that vehicles may have."""
    found = (name.split(".") for name in options() if name.startswith("device.") and name.endswith(".probability"))
    return frozenset(part[1] for part in found)


def values(element: str, attribute: str) -> list[str]:
    """The values that the schemas list for an attribute of additional files."""
    tree = ElementTree.parse(ROOT / "additional_file.xsd").getroot()
    for kind in tree.iter(f"{XSD}complexType"):
        if kind.get("name") == f"{element}Type":
            for of in kind.iter(f"{XSD}attribute"):
                if of.get("name") == attribute:
                    return [e.get("value", "") for e in of.iter(f"{XSD}enumeration")]
    return []


def _of(kind: str) -> Elements:
    types: dict[str, ElementTree.Element] = {}
    tops: list[ElementTree.Element] = []
    _load((ROOT / f"{kind}.xsd").resolve(), set(), types, tops)
    found: Elements = {}
    done: set[tuple[str, str]] = set()

    def body(part: ElementTree.Element, name: str) -> None:
        for child in part:
            tag = child.tag.removeprefix(XSD)
            if tag == "attribute":
                found.setdefault(name, {})[child.get("name", child.get("ref", ""))] = child.get("use", "optional")
            elif tag == "element":
                element(child)
            elif tag in ("group", "attributeGroup"):
                body(types[child.get("ref", "")], name)
            elif tag != "simpleType":
                if tag == "extension" and child.get("base") in types:
                    body(types[child.get("base", "")], name)
                body(child, name)

    def element(part: ElementTree.Element) -> None:
        name, kind = part.get("name", part.get("ref", "")), part.get("type", "")
        if kind.endswith("ConfigurationType"):
            return
        found.setdefault(name, {})
        if not kind or (name, kind) not in done:
            done.add((name, kind))
            if kind in types:
                body(types[kind], name)
            body(part, name)

    for top in tops:
        element(top)
    return found


def _load(
    path: Path, seen: set[Path], types: dict[str, ElementTree.Element], tops: list[ElementTree.Element]
) -> None:
    if path in seen:
        return
    seen.add(path)
    for part in _children(path):
        tag = part.tag.removeprefix(XSD)
        if tag == "include":
            _load((path.parent / part.get("schemaLocation", "")).resolve(), seen, types, tops)
        elif tag in ("complexType", "group", "attributeGroup"):
            types[part.get("name", "")] = part
        elif tag == "element":
            tops.append(part)


def _children(path: Path) -> Iterator[ElementTree.Element]:
    yield from ElementTree.parse(path).getroot()
