"""What stands below each field of a dataclass, so that docstrings and help say it in the same words."""

from __future__ import annotations

import ast
import inspect
import textwrap
from dataclasses import fields


def field_docs(of: type) -> dict[str, str]:
    """The text below each field of a dataclass and of those that it extends; fields without one are left out."""
    found: dict[str, str] = {}
    for base in reversed(of.__mro__):
        if "__dataclass_fields__" not in vars(base):
            continue
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        assert isinstance(tree, ast.ClassDef)
        for field, after in zip(tree.body, tree.body[1:], strict=False):
            if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
                continue
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                found[field.target.id] = " ".join(str(after.value.value).split())
    return {field.name: found[field.name] for field in fields(of) if field.name in found}


def table(of: type, first: tuple[str, ...] = (), indent: str = "        ", width: int = 116) -> str:
    """The fields and their texts as the arguments of a docstring.

    Args:
        first: the fields that come before the others.
    """
    docs = field_docs(of)
    rows = (f"{name}: {docs[name]}" for name in (*first, *(name for name in docs if name not in first)))
    wrapper = textwrap.TextWrapper(
        width, initial_indent=indent, subsequent_indent=f"{indent}    ", break_on_hyphens=False
    )
    return "\n".join(line for row in rows for line in wrapper.wrap(row))
