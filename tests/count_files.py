"""Small files of counts in the formats that `demand import` reads, and commands run in this process."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

import polars as pl

from demand.__main__ import main
from demand.counts.store import CountsFolder


def imported(out: Path, *words: object) -> CountsFolder:
    """The folder that `demand import` makes of these words."""
    assert main(["import", *map(str, words), "--out", str(out)]) == 0
    return CountsFolder(out)


def cleaned(folder: Path, out: Path, *words: object) -> CountsFolder:
    """The folder that `demand clean` makes."""
    assert main(["clean", str(folder), *map(str, words), "--out", str(out)]) == 0
    return CountsFolder(out)


def rows_of(folder: CountsFolder) -> list[tuple[str, str, float | None]]:
    """Detector, time in UTC, count of each row."""
    table = folder.frame().select("detector", pl.col("time").dt.strftime("%m-%d %H:%M"), "count")
    return table.rows()


def written(path: Path, *lines: str) -> Path:
    """A file of these lines."""
    path.write_text("\n".join(lines) + "\n")
    return path


def workbook(path: Path, rows: Sequence[Sequence[str | float]]) -> Path:
    """A workbook of one sheet, as spreadsheets write it."""
    cells = []
    for number, row in enumerate(rows, start=1):
        told = []
        for column, value in enumerate(row):
            name = f"{chr(ord('A') + column)}{number}"
            if isinstance(value, str):
                told.append(f'<c r="{name}" t="inlineStr"><is><t>{escape(value)}</t></is></c>' if value else "")
            else:
                told.append(f'<c r="{name}"><v>{value}</v></c>')
        cells.append(f'<row r="{number}">{"".join(told)}</row>')
    main_ns = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    rel_ns = "http://schemas.openxmlformats.org/package/2006/relationships"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    files = {
        "[Content_Types].xml": '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{kind}.sheet.main+xml"/>'
        f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{kind}.worksheet+xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{rel_ns}"><Relationship Id="rId1" Type="{office}/officeDocument" '
        'Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{main_ns}" xmlns:r="{office}"><sheets>'
        '<sheet name="Count" sheetId="1" r:id="rId1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{rel_ns}"><Relationship Id="rId1" '
        f'Type="{office}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>',
        "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{main_ns}"><sheetData>{"".join(cells)}'
        "</sheetData></worksheet>",
    }
    with zipfile.ZipFile(path, "w") as packed:
        for name, text in files.items():
            packed.writestr(name, '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>' + text)
    return path
