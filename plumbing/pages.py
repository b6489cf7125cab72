"""Pages for a browser, from templates of one look: `page_base.html` has the head and the style that all share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2

BASE = Path(__file__).with_name("page_base.html")


def render(template: Path, **values: Any) -> str:
    """The page of a template that extends "base.html", with its blocks `style` and `body`; `title` is among the
    values. Text is escaped, and a name that is missing is an error."""
    sources = {"base.html": BASE.read_text(encoding="utf-8"), "page": template.read_text(encoding="utf-8")}
    environment = jinja2.Environment(
        loader=jinja2.DictLoader(sources), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    return environment.get_template("page").render(**values)
