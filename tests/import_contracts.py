"""An import-linter contract that holds commands, too: files beside the packages, which it does not read itself."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

from grimp import ImportGraph
from importlinter.contracts.forbidden import ForbiddenContract
from importlinter.domain import fields
from importlinter.domain.contract import ContractCheck


class WithCommands(ForbiddenContract):
    """As `forbidden`; of `commands`, such as control for control.py, every import counts, in functions as well."""

    type_name = "forbidden_with_commands"
    commands: Any = fields.SetField(subfield=fields.StringField())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        """Put the commands into the graph, then look."""
        for command in sorted(self.commands):
            add_command(graph, command, Path(f"{command}.py").read_text(encoding="utf-8"))
        return super().check(graph, verbose)


def add_command(graph: ImportGraph, name: str, source: str) -> None:
    """Add a file's imports to the graph as those of a module of this name."""
    graph.add_module(name)
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            named = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            named = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for one in named:
            module = _module(graph, one)
            graph.add_import(
                importer=name, imported=module, line_number=node.lineno, line_contents=lines[node.lineno - 1]
            )


def _module(graph: ImportGraph, name: str) -> str:
    """The module of the graph that this is, or is in; another package's as a whole."""
    while name not in graph.modules and "." in name:
        name = name.rpartition(".")[0]
    if name not in graph.modules:
        graph.add_module(name, is_squashed=True)
    return name
