"""`demand clean`: faults put into real counts are found, sound counts stay, and nothing is lost."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demand.__main__ import main
from demand.cleaning.clean import Cleaning
from demand.cleaning.settings import CleaningSettings
from demand.counts.meter import Meter
from demand.counts.readers import traffic_anomaly
from demand.counts.schema import COUNTS, About
from demand.counts.store import CountsFolder, write_counts
from plumbing.errors import InputError
from tests.count_files import cleaned, imported, written

BUSY_VEH = 15.0
"""Mean count from which a detector tells enough to judge it by."""


@pytest.fixture(scope="module")
def oregon() -> tuple[About, pl.DataFrame, pl.DataFrame]:
    """The real counts, with their clocks' hour of the day."""
    about, detectors, table = traffic_anomaly.read()
    return about, detectors, table


@pytest.fixture(scope="module")
def busy(oregon: tuple[About, pl.DataFrame, pl.DataFrame]) -> list[str]:
    """The detectors that count much."""
    means = oregon[2].group_by("detector").agg(pl.col("count").mean())
    return means.filter(pl.col("count") >= BUSY_VEH)["detector"].sort().to_list()


def parts_of(folder: CountsFolder) -> pl.DataFrame:
    """The counts of a folder, cleaned, without the report."""
    with Meter() as meter:
        return pl.concat(Cleaning(folder, CleaningSettings(), meter).parts())


def cleaned_table(path: Path, about: About, detectors: pl.DataFrame, table: pl.DataFrame) -> pl.DataFrame:
    """The counts of a table, cleaned by the command."""
    write_counts(path / "counts", about, detectors, [table.select(list(COUNTS))])
    return cleaned(path / "counts", path / "clean").frame()


def hurt(table: pl.DataFrame, spells: dict[str, tuple[datetime, int]], value: pl.Expr, fault: str) -> pl.DataFrame:
    """The table with another count in a stretch of rows of each detector: begin, hours. `fault` says which."""
    marks = [
        (pl.col("detector") == name) & pl.col("time").is_between(begin, begin + timedelta(hours=hours), closed="left")
        for name, (begin, hours) in spells.items()
    ]
    here = pl.any_horizontal(marks)
    return table.with_columns(
        fault=pl.when(here).then(pl.lit(fault)).otherwise("fault"), count=pl.when(here).then(value).otherwise("count")
    )


def found_rates(result: pl.DataFrame, table: pl.DataFrame) -> dict[str | None, float]:
    """For each fault, and None, the share of its rows that are not called measured."""
    both = table.join(result.select("detector", "time", "state"), on=["detector", "time"])
    return dict(both.group_by("fault").agg((pl.col("state") != "measured").mean()).rows())


def spells_at(names: list[str], local_hour: int, hours: int, shift: int = 0) -> dict[str, tuple[datetime, int]]:
    """One stretch for each detector, each on another workday, at this hour in Oregon."""
    days = [datetime(2024, 4, 22, tzinfo=UTC) + timedelta(days=n) for n in (0, 1, 2, 3, 7, 8, 9, 10, 14, 15, 16, 17)]
    return {
        name: (days[(n + shift) % len(days)] + timedelta(hours=local_hour + 7), hours) for n, name in enumerate(names)
    }


FAULTS = {
    "stuck": (11, 6, pl.lit(17.0), 0.95),
    "stuck low": (11, 6, pl.lit(3.0), 0.95),
    "dead through the morning": (7, 4, pl.lit(0.0), 0.95),
    "chatter": (12, 2, pl.lit(700.0), 0.95),
    "negative": (12, 2, -pl.col("count") - 1, 1.0),
    "beyond any lane": (12, 2, pl.lit(5000.0), 1.0),
}
"""Hour, hours, what stands there, and the least share of such rows that must be found."""


def test_faults_in_real_counts_are_found_and_sound_ones_are_not(
    tmp_path: Path, oregon: tuple[About, pl.DataFrame, pl.DataFrame], busy: list[str]
) -> None:
    """Each busy detector has each fault once, on six of its 26 days."""
    about, detectors, table = oregon
    table = table.with_columns(fault=pl.lit(None, pl.String))
    for shift, (name, (hour, hours, value, _)) in enumerate(FAULTS.items()):
        table = hurt(table, spells_at(busy, hour, hours, 2 * shift), value, name)
    write_counts(tmp_path / "counts", about, detectors, [table.select(list(COUNTS))])
    result = parts_of(CountsFolder(tmp_path / "counts"))
    rates = found_rates(result, table)
    for name, (_, _, _, least) in FAULTS.items():
        assert rates[name] >= least, rates
    assert rates[None] <= 0.001, rates
    hidden = oregon[2].join(table.filter(pl.col("fault").is_not_null()), on=["detector", "time"], how="semi")
    both = hidden.join(result.filter(pl.col("state") == "imputed"), on=["detector", "time"], suffix="_found")
    apart = both.select((pl.col("count") - pl.col("count_found")).abs().sum() / pl.col("count").sum()).item()
    assert both.height > 200
    assert apart < 0.2, f"imputed counts are {apart:.0%} away from what was counted there"


@pytest.mark.wide
def test_a_clock_that_jumps_is_found_and_put_right(
    tmp_path: Path, oregon: tuple[About, pl.DataFrame, pl.DataFrame]
) -> None:
    about, detectors, table = oregon
    begin, days = datetime(2024, 4, 29, 7, tzinfo=UTC), 5
    off = pl.col("time").is_between(begin, begin + timedelta(days=days), closed="left")
    late = pl.col("count").shift(4).over("detector")
    table = table.with_columns(right=pl.col("count"), fault=pl.when(off).then(pl.lit("clock")))
    table = table.with_columns(count=pl.when(off).then(late).otherwise("count"))
    result = cleaned_table(tmp_path, about, detectors, table)
    rates = found_rates(result, table)
    assert rates["clock"] >= 0.9, rates
    assert rates[None] <= 0.001, rates
    both = result.join(table.select("detector", "time", "right"), on=["detector", "time"])
    moved = both.filter((pl.col("why") == "clock off") & pl.col("count").is_not_null())
    assert (moved["count"] == moved["right"]).mean() > 0.97, "each count is back at its time"
    content = json.loads((tmp_path / "clean" / "cleaning.json").read_text())
    assert {of["late_s"] for of in content["clocks"]} == {3600}
    assert {(of["first"], of["last"]) for of in content["clocks"]} == {("2024-04-29", "2024-05-03")}


def test_a_logger_that_keeps_winter_time_is_named(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    begin, lines = datetime(2024, 3, 4), []
    for n in range(60 * 96):
        shown = begin + timedelta(minutes=15 * n)  # winter time, all year
        real = shown + timedelta(hours=1 if shown >= datetime(2024, 3, 31, 2) else 0)
        hour = real.hour + real.minute / 60
        mean = 3 + 60 * np.exp(-(((hour - 8) / 1.5) ** 2)) + 40 * np.exp(-(((hour - 17) / 2) ** 2))
        lines.append(f"a,{shown:%Y-%m-%d %H:%M},{rng.poisson(mean)}")
    file = written(tmp_path / "counts.csv", "detector,time,count", *lines)
    notes = {}
    for name, words in (("wrong", ()), ("right", ("--clock", "Etc/GMT-1"))):
        folder = imported(tmp_path / name, file, "--zone", "Europe/Berlin", *words)
        cleaned(folder.path, tmp_path / f"{name}-clean")
        content = json.loads((tmp_path / f"{name}-clean" / "cleaning.json").read_text())
        notes[name] = content["changes_ignored"]
    content = json.loads((tmp_path / "wrong-clean" / "cleaning.json").read_text())
    assert content["clocks_doubtful"] == 1, "half of the days lie apart from the other half: nothing is put back"
    assert "clock off" not in content["findings"]
    assert notes == {"wrong": {"2024-03-31": 1}, "right": {}}


def test_gaps_and_second_counts(tmp_path: Path) -> None:
    times = [datetime(2024, 5, 1, tzinfo=UTC) + timedelta(minutes=15 * n) for n in range(28 * 96)]
    counts = {t: 40.0 + (t.hour * 4 + t.minute // 15) % 13 for t in times}
    short = [datetime(2024, 5, 15, 9, m, tzinfo=UTC) for m in (0, 15, 30)]
    long = [datetime(2024, 5, 20, h, m, tzinfo=UTC) for h in range(6, 16) for m in (0, 15, 30, 45)]
    lines = [f"a,{t:%Y-%m-%dT%H:%M:%SZ},{c}" for t, c in counts.items() if t not in {*short, *long}]
    lines += [lines[0], "a,2024-05-16T09:00:00Z,999"]
    folder = imported(
        tmp_path / "in", written(tmp_path / "c.csv", "detector,time,count", *lines), "--zone", "UTC"
    )  # fmt: skip
    table = cleaned(folder.path, tmp_path / "out").frame()
    rows = {row["time"]: row for row in table.iter_rows(named=True)}
    for time in short:
        assert (rows[time]["state"], rows[time]["why"], rows[time]["raw"]) == ("imputed", "gap", None)
        assert rows[time]["count"] == pytest.approx(counts[time], abs=0.5), "as at that time of the week"
    assert {(rows[t]["state"], rows[t]["count"]) for t in long} == {("missing", None)}
    second = rows[datetime(2024, 5, 16, 9, tzinfo=UTC)]
    assert (second["state"], second["why"]) == ("imputed", "two counts for this time")
    totals = json.loads((tmp_path / "out" / "cleaning.json").read_text())["totals"]
    assert totals == {
        "rows_in": len(lines) - 2, "rows_out": len(times), "gaps_added": len(short) + len(long), "imputed": 4,
        "measured": len(times) - len(short) - len(long) - 1, "missing": len(long), "rows_aside": 2,
    }  # fmt: skip
    assert pl.concat(CountsFolder(tmp_path / "out").aside()).height == 2, "what was set aside goes along"


def test_an_imputed_count_follows_how_busy_the_day_is(tmp_path: Path) -> None:
    lines = []
    for day in range(28):
        level = 2.0 if day == 16 else 1.0
        for n in range(96):
            if (day, n) != (16, 40):
                time = datetime(2024, 5, 1, tzinfo=UTC) + timedelta(days=day, minutes=15 * n)
                lines.append(f"a,{time:%Y-%m-%dT%H:%M:%SZ},{level * (20 + n % 7):g}")
    folder = imported(
        tmp_path / "in", written(tmp_path / "c.csv", "detector,time,count", *lines), "--zone", "UTC"
    )  # fmt: skip
    row = parts_of(folder).filter(pl.col("state") == "imputed").row(0, named=True)
    assert row["time"] == datetime(2024, 5, 17, 10, tzinfo=UTC)
    assert row["count"] == pytest.approx(2.0 * (20 + 40 % 7))


def test_occupancy_and_speed_are_judged(tmp_path: Path) -> None:
    times = [datetime(2024, 5, 1, tzinfo=UTC) + timedelta(minutes=15 * n) for n in range(960)]
    rows = [[20.0 + n % 9, 0.1, 12.0] for n in range(960)]
    rows[100] = [20.0, 1.4, 12.0]
    rows[200] = [20.0, 0.1, 90.0]
    rows[300] = [20.0, 0.0, 12.0]
    for n in range(400, 408):
        rows[n] = [0.0, 0.4, None]  # type: ignore[list-item]
    lines = [
        f"a,{t:%Y-%m-%dT%H:%M:%SZ},{c},{o},{'' if v is None else v}" for t, (c, o, v) in zip(times, rows, strict=True)
    ]
    file = written(tmp_path / "c.csv", "detector,time,count,occupancy,speed_mps", *lines)
    table = parts_of(imported(tmp_path / "in", file, "--zone", "UTC"))
    found = table.with_row_index().filter(pl.col("why") != "").select("index", "why").rows()
    assert found == [
        (100, "occupancy out of range"), (200, "speed out of range"), (300, "counts without occupancy"),
        *((n, "occupied for long without a count") for n in range(400, 408)),
    ]  # fmt: skip


def test_places_that_should_agree(tmp_path: Path) -> None:
    lines = []
    for day in range(14):
        for n in range(96):
            time = datetime(2024, 5, 1, tzinfo=UTC) + timedelta(days=day, minutes=15 * n)
            count = 20 + n % 5
            near = count if day != 6 else count * 0.5
            for name, value in (("far", count), ("near", near), ("out1", count / 4), ("out2", count / 4)):
                lines.append(f"{name},{time:%Y-%m-%dT%H:%M:%SZ},{value}")
    file = written(tmp_path / "c.csv", "detector,time,count", *lines)
    places = written(
        tmp_path / "d.csv", "detector,site,approach,lane,position_m", "far,X,NB,0,80", "near,X,NB,0,2"
    )  # fmt: skip
    folder = imported(tmp_path / "in", file, "--zone", "UTC", "--detectors", places)
    cleaned(folder.path, tmp_path / "out")
    (pair,) = json.loads((tmp_path / "out" / "cleaning.json").read_text())["conservation"]
    assert (pair["pair"], pair["agree"], pair["days"]) == ("far → near", True, 14)
    assert [of["day"] for of in pair["days_off"]] == ["2024-05-07"]
    named = written(tmp_path / "pairs.csv", "upstream,downstream", "far,out1+out2")
    cleaned(folder.path, tmp_path / "out", "--pairs", named)
    (pair,) = json.loads((tmp_path / "out" / "cleaning.json").read_text())["conservation"]
    assert pair["agree"] is False
    assert pair["ratio"] == pytest.approx(0.5)
    with pytest.raises(InputError, match="no detector 'fat'"):
        main(
            [
                "clean",
                str(folder.path),
                "--pairs",
                str(written(named, "upstream,downstream", "fat,near")),
                "--out",
                "x",
            ]
        )


@st.composite
def tables(draw: st.DrawFn) -> pl.DataFrame:
    """Counts with anything in them, on the grid, each time once."""
    rows = []
    for name in draw(st.lists(st.sampled_from("abc"), min_size=1, max_size=3, unique=True)):
        slots = draw(st.lists(st.integers(0, 5 * 96), min_size=3, max_size=80, unique=True))
        for slot in slots:
            count = draw(st.one_of(st.none(), st.integers(-3, 60).map(float), st.sampled_from([0.0, 7.0, 9e4])))
            occupancy = draw(st.one_of(st.none(), st.floats(-0.5, 1.5)))
            rows.append(
                (name, datetime(2024, 3, 29, tzinfo=UTC) + timedelta(minutes=15 * slot), count, occupancy, None)
            )
    table = pl.DataFrame(rows, schema=dict(COUNTS), orient="row").sort("detector", "time")
    return table.with_columns(count=pl.when(pl.int_range(pl.len()) == 0).then(5.0).otherwise("count"))


@settings(max_examples=25, deadline=None)
@given(tables())
def test_measured_counts_never_change_and_no_row_is_lost(
    tmp_path_factory: pytest.TempPathFactory, table: pl.DataFrame
) -> None:
    path = tmp_path_factory.mktemp("property")
    about = About(900, "Europe/Berlin", ({"name": "x", "format": "table", "sha256": "", "rows": table.height},))
    write_counts(path, about, table.select("detector").unique(), [table])
    result = parts_of(CountsFolder(path))
    both = table.join(result, on=["detector", "time"], how="left", suffix="_out")
    assert both["state"].null_count() == 0, "each row that came in is there"
    assert both["raw"].eq_missing(both["count"]).all(), "and so is what came in"
    measured = both.filter(pl.col("state") == "measured")
    for name in ("count", "occupancy", "speed_mps"):
        assert measured[name].eq_missing(measured[f"{name}_out"]).all()
    assert (measured["count"] >= 0).all()
    added = result.filter(pl.col("why") == "gap").height
    assert result.height == table.height + added
    assert result.select("detector", "time").is_duplicated().sum() == 0
    assert ((result["state"] == "missing") == result["count"].is_null()).all()
    assert ((result["why"] == "") == (result["state"] == "measured")).all()


def test_a_turning_count_has_no_gaps_between_its_sessions(tmp_path: Path) -> None:
    rows = [f"{h}:{m:02},{n + 1},{n + 2},{n + 3}" for h in (7, 8, 16, 17) for n, m in enumerate((0, 15, 30, 45))]
    del rows[2]
    file = written(tmp_path / "sheet.csv", "Date: 2024-05-14", "Time,NBL,NBT,NBR", *rows)
    folder = imported(tmp_path / "in", file, "--zone", "America/Denver", "--interval", 900)
    table = parts_of(folder)
    assert table.height == 3 * 16
    assert table.filter(pl.col("why") == "gap")["time"].unique().to_list() == [
        datetime(2024, 5, 14, 13, 30, tzinfo=UTC)
    ]  # fmt: skip


def test_what_cannot_be_cleaned_is_refused_in_a_line(tmp_path: Path) -> None:
    lines = [f"a,2024-05-{d:02}T{h:02}:00:00Z,{h}" for d in range(1, 15) for h in range(24)]
    folder = imported(tmp_path / "in", written(tmp_path / "c.csv", "detector,time,count", *lines), "--zone", "UTC")
    done = cleaned(folder.path, tmp_path / "out")
    dead = folder.frame().with_columns(count=pl.lit(0.0))
    write_counts(tmp_path / "zeros", folder.about, folder.detectors(), [dead])
    far = pl.concat([folder.frame(), folder.frame().head(1).with_columns(time=datetime(1970, 1, 1, tzinfo=UTC))])
    write_counts(tmp_path / "far", folder.about, folder.detectors(), [far])
    for source, told in (
        (done.path, "cleaned already"),
        (tmp_path / "zeros", "zero or missing"),
        (tmp_path / "far", "is a date wrong"),
        (tmp_path, "no folder of counts"),
    ):
        with pytest.raises(InputError, match=told):
            main(["clean", str(source), "--out", str(tmp_path / "never")])
    with pytest.raises(InputError, match="choose another"):
        main(["clean", str(folder.path), "--out", str(folder.path)])
    assert not (tmp_path / "never").exists()


def test_the_report_says_it_all(tmp_path: Path, oregon: tuple[About, pl.DataFrame, pl.DataFrame]) -> None:
    about, detectors, table = oregon
    table = table.with_columns(fault=pl.lit(None, pl.String))
    table = hurt(table, spells_at(["03"], 8, 5), pl.lit(0.0), "dead")
    detectors = detectors.with_columns(detector=pl.col("detector").replace("04", "<b>4</b>"))
    table = table.with_columns(detector=pl.col("detector").replace("04", "<b>4</b>"))
    cleaned_table(tmp_path, about, detectors, table)
    page = (tmp_path / "clean" / "report.html").read_text()
    assert "<b>4</b>" not in page, "a name is text"
    assert "&lt;b&gt;4" in page
    assert "zeros where traffic is usual" in page
    assert page.count("<svg") >= 2
    content = json.loads((tmp_path / "clean" / "cleaning.json").read_text())
    row = next(row for row in content["detectors"] if row["detector"] == "03")
    spell = next(of for of in row["findings"] if of["why"] == "zeros where traffic is usual")["longest"][0]
    assert (spell["from"], spell["to"], spell["rows"]) == (
        "2024-04-22T08:00:00-07:00", "2024-04-22T13:00:00-07:00", 20,
    )  # fmt: skip
    assert row["measured"] + row["imputed"] + row["missing"] == pytest.approx(1.0)
    listed = (tmp_path / "clean" / "findings.csv").read_text().splitlines()
    assert any(line.startswith("03,zeros where traffic is usual,2024-04-22T08:00:00-07:00") for line in listed)
