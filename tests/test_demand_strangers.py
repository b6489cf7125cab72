"""What a careless user gives to `python -m demand`: refused in a line, before anything is written."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from demand.__main__ import main
from demand.counts.schema import COUNTS
from demand.counts.store import CountsFolder
from demand.forecast.model_folder import read_model
from demand.generation.model_folder import read_generator
from demand.incidents.model import load_model
from plumbing.errors import InputError

ZONE = ("--zone", "UTC")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two days of two detectors."""
    place = tmp_path_factory.mktemp("stranger")
    times = pl.datetime_range(
        pl.datetime(2024, 5, 14), pl.datetime(2024, 5, 15, 23, 45), "15m", eager=True
    ).dt.strftime("%Y-%m-%d %H:%M")
    tables = [pl.DataFrame({"time": times}).with_columns(detector=pl.lit(name), count=7) for name in "ab"]
    pl.concat(tables).select("detector", "time", "count").write_csv(place / "counts.csv")
    assert main(["import", str(place / "counts.csv"), *ZONE, "--out", str(place / "counts")]) == 0
    return place / "counts"


def refused(*words: object) -> str:
    """The one line with which these words are refused."""
    with pytest.raises(InputError) as error:
        main([str(word) for word in words])
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(("year", "told"), [("0001", "year 1"), ("1600", "year 1600"), ("9999", "year 9999")])
def test_times_of_impossible_years_are_refused(tmp_path: Path, year: str, told: str) -> None:
    """Which else break the arithmetic of zones, or make a grid of centuries."""
    file = tmp_path / "counts.csv"
    file.write_text(f"detector,time,count\na,{year}-12-31T23:00:00,1\na,{year}-12-31T23:15:00,1\n")
    assert told in refused("import", file, "--zone", "Europe/Berlin", "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("count", ["1e300", "-1e7"])
def test_counts_that_no_road_carries_are_refused(tmp_path: Path, count: str) -> None:
    """Which else break the arithmetic of forecasts and made days."""
    file = tmp_path / "counts.csv"
    file.write_text(f"detector,time,count\na,2024-05-14T00:00:00,4\na,2024-05-14T00:15:00,{count}\n")
    assert "beyond 1e+06 vehicles" in refused("import", file, *ZONE, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_columns_of_lists_and_open_quotation_marks_are_refused(tmp_path: Path) -> None:
    """With a word about what is wrong, not the reader's own."""
    nested, quoted = tmp_path / "nested.parquet", tmp_path / "quoted.csv"
    pl.DataFrame({"detector": [["a"]], "time": ["2024-05-14T00:00:00"], "count": [1]}).write_parquet(nested)
    quoted.write_text('detector,time,count\n"a,2024-05-14T00:00:00,4\na,2024-05-14T00:15:00,4\n')
    assert "'detector' holds List" in refused("import", nested, *ZONE, "--out", tmp_path / "out")
    assert "quotation mark is not closed" in refused("import", quoted, *ZONE, "--out", tmp_path / "out")


def test_no_interval_of_nothing(folder: Path, tmp_path: Path) -> None:
    """0 is not "the files' own"."""
    source = folder.parent / "counts.csv"
    assert "--interval 0" in refused("import", source, *ZONE, "--interval", 0, "--out", tmp_path / "out")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("--fill-up-to", value) for value in ("nan", "inf", "-1", "1e300")),
        *(("--lane-capacity", value) for value in ("nan", "inf", "-1")),  # it may be as large as one likes
    ],
)
def test_thresholds_that_are_none(folder: Path, tmp_path: Path, option: str, value: str) -> None:
    assert option in refused("clean", folder, f"{option}={value}", "--out", tmp_path / "out")


@pytest.mark.parametrize("command", ["clean", "forecast", "generate", "calibrate", "incidents learn"])
def test_out_and_what_is_read_must_not_lie_in_each_other(folder: Path, command: str) -> None:
    """The next import into the outer one would take the inner one with it."""
    more = ("--scenario", "single") if command == "calibrate" else ()
    before = sorted(folder.rglob("*"))
    for out in (folder, folder / "inner", folder / ".." / folder.name):
        assert "choose another" in refused(*command.split(), folder, *more, "--out", out)
    assert sorted(folder.rglob("*")) == before


OTHERS: dict[str, tuple[str, ...]] = {
    "clean": ("clean", "{counts}"),
    "forecast": ("forecast", "{counts}"),
    "generate": ("generate", "{counts}"),
    "incidents learn": ("incidents", "learn", "{counts}"),
    "incidents simulate": ("incidents", "simulate", "--scenario", "tee", "--days", "1"),
}


@pytest.mark.parametrize("command", OTHERS)
def test_what_a_user_keeps_in_a_folder_is_never_lost_with_it(folder: Path, tmp_path: Path, command: str) -> None:
    """A result takes the place of the whole folder. Those that learn would refuse two days of counts only later."""
    (tmp_path / "letter").write_text("dear")
    words = [word.format(counts=folder) for word in OTHERS[command]]
    if command in ("generate", "incidents learn"):
        place = tmp_path / "weeks"
        shutil.copytree(folder, place)
        part = place / "part-0000.parquet"
        rows = pl.read_parquet(part)
        later = [rows.with_columns(pl.col("time") + pl.duration(days=2 * n)) for n in range(4)]
        pl.concat(later).sort("detector", "time").write_parquet(part)
        words = [str(place) if word == str(folder) else word for word in words]
    out = tmp_path / "mine"
    out.mkdir()
    (tmp_path / "letter").rename(out / "letter")
    assert "'letter', which would be lost" in refused(*words, "--out", out)
    assert (out / "letter").read_text() == "dear"


def test_a_note_beside_counts_and_counts_that_are_read_stay(folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "counts"
    shutil.copytree(folder, place)
    source = place / "raw.csv"
    shutil.copy(folder.parent / "counts.csv", source)
    assert "holds what is read" in refused("import", source, *ZONE, "--out", place)
    assert "'raw.csv', which would be lost" in refused("import", folder.parent / "counts.csv", *ZONE, "--out", place)
    assert source.exists()
    source.unlink()
    assert main(["import", str(folder.parent / "counts.csv"), *ZONE, "--out", str(place)]) == 0  # counts make room


def test_pipes_are_not_waited_for(tmp_path: Path) -> None:
    for name in ("about.json", "forecast.json", "generator.json", "model.json"):
        os.mkfifo(tmp_path / name)
    assert "no plain file" in refused("import", tmp_path / "about.json", *ZONE, "--out", tmp_path / "out").lower()
    for read in (CountsFolder, read_model, read_generator, load_model):
        with pytest.raises(InputError, match="No plain file"):
            read(tmp_path)


def test_text_in_utf_16_is_named_as_such(tmp_path: Path) -> None:
    """As Excel saves "Unicode text"."""
    (tmp_path / "counts.txt").write_text("detector\ttime\tcount\n", encoding="utf-16")
    assert "UTF-16" in refused("import", tmp_path / "counts.txt", *ZONE, "--out", tmp_path / "out")


def test_a_place_where_no_folder_can_be_made_is_refused(folder: Path, tmp_path: Path) -> None:
    """Linux says "no such file" in /proc again and again; other systems refuse a folder at their root at once."""
    told = "no folder can be made there" if sys.platform.startswith("linux") else "cannot write into --out"
    assert told in refused("clean", folder, "--out", "/proc/intergreen")
    (tmp_path / "file").touch()
    assert "cannot write into --out" in refused("clean", folder, "--out", tmp_path / "file" / "inner")


def _change(rows: Callable[[pl.DataFrame], pl.DataFrame]) -> Callable[[Path], object]:
    def change(place: Path) -> None:
        part = place / "part-0000.parquet"
        rows(pl.read_parquet(part)).cast(dict(COUNTS)).write_parquet(part)  # type: ignore[arg-type]

    return change


def _renamed(rows: pl.DataFrame, name: str | None) -> pl.DataFrame:
    return rows.with_columns(pl.col("detector").replace("b", name))


TAMPERED: dict[str, tuple[Callable[[Path], object], str]] = {
    "a part twice": (lambda at: shutil.copy(at / "part-0000.parquet", at / "part-0001.parquet"), "another part"),
    "rows twice": (_change(lambda rows: pl.concat([rows, rows])), "not in order"),
    "unknown detector": (
        _change(lambda rows: _renamed(rows, "z")),
        "'z' does not stand",
    ),
    "no detector": (_change(lambda rows: _renamed(rows, None)), "does not stand"),
    "no time": (_change(lambda rows: rows.with_columns(time=pl.lit(None))), "a time is missing"),
    "another interval": (
        lambda at: (at / "about.json").write_text((at / "about.json").read_text().replace("900", "86400")),
        "grid of 86400 s",
    ),
}


@pytest.mark.parametrize("how", TAMPERED)
def test_a_folder_of_counts_that_was_tampered_with(folder: Path, tmp_path: Path, how: str) -> None:
    """Each command reads its counts through `CountsFolder`, which checks them."""
    place = tmp_path / "counts"
    shutil.copytree(folder, place)
    change, told = TAMPERED[how]
    change(place)
    with pytest.raises(InputError, match=told):
        CountsFolder(place).frame()
    refused("clean", place, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_next_command_works_as_it_is_printed(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also for a folder whose name the shell would divide."""
    import shlex

    place = tmp_path / "my counts; rm"
    assert main(["import", str(folder.parent / "counts.csv"), *ZONE, "--out", str(place)]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("next: "))
    python, m, demand, *words = shlex.split(line.removeprefix("next: "))
    assert (python, m, demand) == ("python", "-m", "demand")
    assert main(words) == 0
    assert CountsFolder(f"{place}-clean").about.cleaned
