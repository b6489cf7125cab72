"""`demand import`: each format from a small file of it, rows in any order, and one line for what is none."""

from __future__ import annotations

import gzip
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from demand.__main__ import main
from demand.counts import gather, reading
from demand.counts.movements import movement_of
from demand.counts.readers.turning import day_of, time_of
from demand.counts.store import CountsFolder
from plumbing.errors import InputError
from tests.count_files import imported, rows_of, workbook, written

ZONE = ("--zone", "Europe/Berlin")


def refused(*words: object) -> str:
    """The one line with which these words are refused."""
    with pytest.raises(InputError) as caught:
        main(["import", *map(str, words)])
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_our_table_with_offsets_in_any_order(tmp_path: Path) -> None:
    file = written(
        tmp_path / "counts.csv",
        "time,count,detector,occupancy_percent,speed_kmh,site",
        "2024-05-14T07:15:00+02:00,7,b,5,36,north",
        "2024-05-14T07:05:00+02:00,3,a,,,south",
        "2024-05-14T07:00:00+02:00,2,a,10,72,south",
        "2024-05-14T07:10:00+02:00,6,b,NA,-,north",
        "2024-05-14T07:10:03+02:00,,a,,,south",
    )
    folder = imported(tmp_path / "out", file, *ZONE)
    assert (folder.about.interval_s, folder.about.zone) == (300, "Europe/Berlin")
    assert rows_of(folder) == [
        ("a", "05-14 05:00", 2.0), ("a", "05-14 05:05", 3.0), ("a", "05-14 05:10", None),
        ("b", "05-14 05:10", 6.0), ("b", "05-14 05:15", 7.0),
    ]  # fmt: skip
    first, last = folder.frame().row(0, named=True), folder.frame().row(-1, named=True)
    assert (first["occupancy"], first["speed_mps"]) == (pytest.approx(0.1), pytest.approx(20.0))
    assert last["speed_mps"] == pytest.approx(10.0)
    assert folder.detectors().select("detector", "site", "kind").rows() == [
        ("a", "south", "detector"), ("b", "north", "detector"),
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "parquet", "semicolons"])
def test_the_same_counts_from_any_kind_of_file(tmp_path: Path, kind: str) -> None:
    begin = datetime(2024, 5, 14)
    table = pl.DataFrame(
        {
            "id": [f"d{n % 7}" for n in range(700)],
            "stamp": [begin + timedelta(minutes=5 * (n // 7)) for n in range(700)],
            "volume": [float(n % 13) for n in range(700)],
        }
    ).sample(fraction=1.0, shuffle=True, seed=1)
    file = tmp_path / f"counts.{kind}"
    if kind == "parquet":
        table.write_parquet(file)
    else:
        text = table.write_csv(separator=";" if kind == "semicolons" else ",", datetime_format="%Y-%m-%d %H:%M:%S")
        text = text.replace(".0", ",0") if kind == "semicolons" else text
        file.write_bytes(gzip.compress(text.encode()) if kind == "csv.gz" else text.encode())
    folder = imported(tmp_path / "out", file, *ZONE, "--columns", "detector=id", "time=stamp", "count=volume")
    expected = table.sort("id", "stamp")
    assert folder.frame()["count"].to_list() == expected["volume"].to_list()
    utc = expected["stamp"].dt.replace_time_zone("Europe/Berlin").dt.convert_time_zone("UTC")
    assert folder.frame()["time"].to_list() == utc.to_list()


def test_parts_hold_whole_detectors_however_the_rows_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gather, "PART_ROWS", 300)
    monkeypatch.setattr(gather, "HELD_ROWS", 170)
    monkeypatch.setattr(reading, "BLOCK_BYTES", 1000)
    begin = datetime(2024, 5, 14, tzinfo=UTC)
    rows = [(f"d{d}", begin + timedelta(minutes=15 * n), d * 100 + n) for d in range(9) for n in range(80)]
    shuffled = random.Random(3).sample(rows, len(rows))
    file = written(
        tmp_path / "counts.csv",
        "detector,time,count",
        *(f"{d},{t:%Y-%m-%dT%H:%M:%SZ},{c}" for d, t, c in shuffled),
    )
    folder = imported(tmp_path / "out", file, *ZONE)
    parts = list(folder.parts())
    assert len(parts) == 3
    names = [name for part in parts for name in part["detector"].unique()]
    assert sorted(names) == sorted({d for d, _, _ in rows})
    found = folder.frame().sort("detector", "time").select("detector", "time", "count").rows()
    assert found == [(d, t, float(c)) for d, t, c in rows]


def test_the_hour_that_is_there_twice_and_the_one_that_is_skipped(tmp_path: Path) -> None:
    local = [f"2024-10-27 0{h}:{m:02}" for h in (1, 2, 2, 3) for m in (0, 15, 30, 45)]
    file = written(tmp_path / "autumn.csv", "detector,time,count", *(f"a,{t},{n}" for n, t in enumerate(local)))
    folder = imported(tmp_path / "autumn", file, *ZONE)
    times = folder.frame()["time"]
    assert times[0] == datetime(2024, 10, 26, 23, tzinfo=UTC)
    assert times.diff().drop_nulls().unique().to_list() == [timedelta(minutes=15)], "no gap and no overlap"
    assert folder.frame()["count"].to_list() == [float(n) for n in range(16)]

    local = [f"2024-03-31 0{h}:{m:02}" for h in (1, 2, 3) for m in (0, 15, 30, 45)]
    file = written(tmp_path / "spring.csv", "detector,time,count", *(f"a,{t},{n}" for n, t in enumerate(local)))
    folder = imported(tmp_path / "spring", file, *ZONE)
    (aside,) = folder.aside()
    assert aside["count"].to_list() == [4.0, 5.0, 6.0, 7.0], "02:00 to 02:45 were never on a clock in Berlin"
    assert set(aside["why"]) == {"a time that clocks skipped in spring"}
    whole = imported(tmp_path / "winter", file, *ZONE, "--clock", "Etc/GMT-1")
    assert whole.frame()["count"].to_list() == [float(n) for n in range(12)], "a logger that keeps winter time"


def test_no_row_is_lost(tmp_path: Path) -> None:
    times = [datetime(2024, 5, 14, tzinfo=UTC) + timedelta(minutes=15 * n) for n in range(96)]
    lines = [f"a,{t:%Y-%m-%dT%H:%M:%SZ},{n}" for n, t in enumerate(times)]
    extra = [lines[5], "a,2024-05-14T02:00:00Z,99", "a,2024-05-14T02:07:00Z,1"]
    file = written(tmp_path / "counts.csv", "detector,time,count", *lines, *extra)
    folder = imported(tmp_path / "out", file, *ZONE)
    aside = pl.concat(folder.aside())
    assert folder.frame().height + aside.height == len(lines) + len(extra)
    assert dict(aside.select("count", "why").rows()) == {
        5.0: "the same row again",
        99.0: "another count for the same time",
        1.0: "its time is not on the grid of intervals",
    }


def test_finer_intervals_are_summed_where_all_of_them_are_there(tmp_path: Path) -> None:
    lines = [f"a,2024-05-14T07:{m:02}:00+02:00,{n},0.{n}" for n, m in enumerate(range(0, 60, 5)) if m != 50]
    file = written(tmp_path / "counts.csv", "detector,time,count,occupancy", *lines)
    folder = imported(tmp_path / "out", file, *ZONE, "--interval", 900)
    assert folder.frame()["count"].to_list() == [3.0, 12.0, 21.0, None]
    assert folder.frame()["occupancy"][0] == pytest.approx(0.1)


def test_intervals_that_differ_are_brought_together_when_told(tmp_path: Path) -> None:
    lines = [f"a,2024-05-14T{h:02}:{m:02}:00Z,1" for h in range(6) for m in range(0, 60, 5)]
    lines += [f"b,2024-05-14T{h:02}:{m:02}:00Z,3" for h in range(6) for m in range(0, 60, 15)]
    file = written(tmp_path / "counts.csv", "detector,time,count", *lines)
    assert "'b' counts every 900 s" in refused(file, *ZONE, "--out", tmp_path / "out")
    folder = imported(tmp_path / "out", file, *ZONE, "--interval", 900)
    assert folder.frame().group_by("detector").agg(pl.col("count").unique()).sort("detector").rows() == [
        ("a", [3.0]), ("b", [3.0]),
    ]  # fmt: skip


def test_lines_of_other_systems(tmp_path: Path) -> None:
    """A byte order mark, carriage returns, quotes, blanks."""
    file = tmp_path / "counts.csv"
    file.write_bytes(
        '\ufeffcount , detector,time\r\n1,"a, north",2024-05-14 07:00\r\n 2 ,"a, north",2024-05-14 07:15\r\n'.encode()
    )
    folder = imported(tmp_path / "out", file, *ZONE)
    assert folder.frame()["count"].to_list() == [1.0, 2.0]
    assert folder.detectors()["detector"].to_list() == ["a, north"]


TURNS = ["NBL", "NBT", "NBR", "SBL", "SBT", "SBR", "EBL", "EBT", "EBR", "WBL", "WBT", "WBR"]


def test_a_turning_count_sheet_with_one_row_of_names(tmp_path: Path) -> None:
    file = written(
        tmp_path / "sheet.csv",
        "Intersection:,Main St & 1st Ave,,,,,,,,,,,,",
        'Date:,"Tuesday, May 14, 2024",,,,,,,,,,,,',
        f"Time,{','.join(TURNS)},Total",
        f"7:00 AM,{','.join(str(n) for n in range(12))},66",
        f"7:15 AM,{','.join(str(n + 1) for n in range(12))},78",
        "Hourly Total,1,3,5,7,9,11,13,15,17,19,21,23,144",
        f"4:00 PM,{','.join(str(n + 2) for n in range(12))},90",
    )
    folder = imported(tmp_path / "out", file, "--zone", "America/Denver", "--interval", 900)
    names = folder.detectors()
    assert names["detector"].to_list() == sorted(f"Main St & 1st Ave {turn}" for turn in TURNS)
    row = names.filter(pl.col("detector").str.ends_with("EBR")).row(0, named=True)
    assert (row["kind"], row["site"], row["approach"], row["movement"]) == (
        "movement", "Main St & 1st Ave", "EB", "R",
    )  # fmt: skip
    only = folder.frame(["Main St & 1st Ave NBT"])
    assert only["count"].to_list() == [1.0, 2.0, 3.0]
    assert only["time"].to_list()[::2] == [
        datetime(2024, 5, 14, 13, tzinfo=UTC),
        datetime(2024, 5, 14, 22, tzinfo=UTC),
    ]


def test_a_workbook_with_names_in_two_rows(tmp_path: Path) -> None:
    rows: list[list[str | float]] = [
        ["Study Name", "Oak / 2nd"],
        ["Start Date", "5/14/2024"],
        ["", "Southbound", "", "", "", "", "Westbound", "", "", ""],
        ["Start Time", "Left", "Thru", "Right", "U-Turn", "Peds", "Left", "Thru", "Right", "App. Total"],
        [0.2916666667, 1, 2, 3, 0, 9, 4, 5, 6, 15],  # 7:00, as spreadsheets keep it
        ["7:15 AM", 2, 3, 4, 1, 9, 5, 6, 7, 18],
    ]
    folder = imported(tmp_path / "out", workbook(tmp_path / "sheet.xlsx", rows), "--zone", "America/Denver")
    last = folder.frame().filter(pl.col("time") == datetime(2024, 5, 14, 13, 15, tzinfo=UTC))
    assert dict(last.select(pl.col("detector").str.slice(10), "count").rows()) == {
        "SBL": 2.0, "SBT": 3.0, "SBR": 4.0, "SBU": 1.0, "WBL": 5.0, "WBT": 6.0, "WBR": 7.0,
    }  # fmt: skip


def test_names_and_times_of_such_sheets() -> None:
    assert movement_of("NBL") == ("NB", "L")
    assert movement_of("eb thru") == ("EB", "T")
    assert movement_of("SBTR") == ("SB", "TR")
    assert movement_of("Total") is None
    for text in ("7:15 AM", "07:15", "07:15 - 07:30", "0715", "07:15:00", "2024-05-14 07:15:00", "7:15", "0.3020833"):
        found = time_of(text)
        assert found is not None
        assert (found.hour, found.minute) == (7, 15), text
    assert time_of("12:00 AM") == time_of("00:00")
    assert time_of("Total") is None
    for text in (
        "Date: 5/14/2024",
        "2024-05-14 00:00:00",
        "14.05.2024",
        "Tuesday, May 14, 2024",
        "14 May 2024",
        "45426",
    ):
        assert str(day_of(text)) == "2024-05-14", text


def test_pems(tmp_path: Path) -> None:
    lane = "10,{flow},.0512,61.2,1"
    row = "05/14/2024 {time}:00,400001,4,101,N,ML,.3,10,{seen},{flow},.0512,62.1," + lane
    lines = [row.format(time=f"00:{m:02}", seen=100, flow=m) for m in range(0, 30, 5)]
    lines.append(row.format(time="00:30", seen=0, flow=77))
    file = tmp_path / "d04_text_station_5min_2024_05_14.txt.gz"
    file.write_bytes(gzip.compress("\n".join(lines).encode()))
    folder = imported(tmp_path / "out", file)
    assert (folder.about.interval_s, folder.about.zone) == (300, "America/Los_Angeles")
    assert folder.frame()["count"].to_list() == [0.0, 5.0, 10.0, 15.0, 20.0, 25.0]
    first = folder.frame().row(0, named=True)
    assert first["time"] == datetime(2024, 5, 14, 7, tzinfo=UTC)
    assert first["occupancy"] == pytest.approx(0.0512)
    assert first["speed_mps"] == pytest.approx(62.1 * 0.44704)
    (aside,) = folder.aside()
    assert aside.select("count", "why").rows() == [(77.0, "filled in by PeMS, not observed")]
    assert folder.detectors().row(0, named=True)["approach"] == "NB"


def test_utd19(tmp_path: Path) -> None:
    head = "day,interval,flow,occ,error,city,speed,detid"
    rows = [f"2017-05-06,{s},{120 + s},0.05,,london,36,N1" for s in range(0, 1500, 300)]
    rows += ["2017-05-06,1500,999,0.05,1,london,36,N1", "2017-05-06,0,60,0.1,,paris,,X"]
    file = written(tmp_path / "utd19_u.csv", head, *rows)
    places = written(tmp_path / "detectors_public.csv", "detid,long,lat,pos,citycode", "N1,-0.1,51.5,0.02,london")
    assert "--city" in refused(file, "--zone", "Europe/London", "--out", tmp_path / "both")
    folder = imported(
        tmp_path / "out", file, "--zone", "Europe/London", "--city", "london", "--detectors", places
    )  # fmt: skip
    assert folder.frame()["count"].to_list() == [(120 + s) / 12 for s in range(0, 1500, 300)], (
        "vehicles, not per hour"
    )
    assert folder.frame()["speed_mps"].to_list() == [pytest.approx(10.0)] * 5
    assert folder.frame()["time"][0] == datetime(2017, 5, 5, 23, tzinfo=UTC), "London is an hour ahead in May"
    (aside,) = folder.aside()
    assert aside["why"].to_list() == ["marked as faulty in UTD19 (error 1)"]
    assert folder.detectors().select("x", "y").row(0) == (-0.1, 51.5)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_hires_event_log(tmp_path: Path, kind: str) -> None:
    events = [(f"2024-05-14 07:{m:02}:{s:02}.{m % 10}", 82, m % 2 + 1) for m in range(0, 30, 2) for s in (1, 20)]
    events += [(f"2024-05-14 07:{m:02}:40.0", 81, 1) for m in range(30)]
    events += [("2024-05-14 07:55:00.0", 1, 2), ("2024-05-14 08:05:00.0", 82, 2)]
    table = pl.DataFrame(
        [(time, 85, code, parameter) for time, code, parameter in events],
        schema=["TimeStamp", "DeviceId", "EventId", "Parameter"], orient="row",
    )  # fmt: skip
    file = tmp_path / f"log.{kind}"
    if kind == "csv":
        table.write_csv(file)
    else:
        table.with_columns(pl.col("TimeStamp").str.to_datetime()).write_parquet(file)
    folder = imported(tmp_path / "out", file, "--zone", "America/Denver")
    found = {(d, t): c for d, t, c in rows_of(folder)}
    assert found == {
        ("85 detector 1", "05-14 13:00"): 16.0, ("85 detector 1", "05-14 13:15"): 14.0,
        ("85 detector 1", "05-14 13:45"): 0.0, ("85 detector 1", "05-14 14:00"): 0.0,
        ("85 detector 2", "05-14 13:00"): 0.0, ("85 detector 2", "05-14 13:15"): 0.0,
        ("85 detector 2", "05-14 13:45"): 0.0, ("85 detector 2", "05-14 14:00"): 1.0,
    }, "nothing is known of 13:30, when the controller wrote nothing"  # fmt: skip


def test_the_counts_in_traffic_anomaly(tmp_path: Path) -> None:
    folder = imported(tmp_path / "out", "traffic_anomaly")
    assert (folder.about.interval_s, folder.about.zone) == (900, "America/Los_Angeles")
    assert folder.frame().height == 54_824
    assert folder.frame()["detector"].n_unique() == 22


BAD = {
    "empty": ("", "is empty"),
    "only a heading": ("detector,time,count\n", "no rows"),
    "wrong columns": ("id,when,n\na,2024-05-14T07:00:00Z,1\n", "has no column 'detector'"),
    "zeros": ("detector,time,count\n" + "".join(f"a,2024-05-14T{h:02}:00:00Z,0\n" for h in range(24)), "zero"),
    "mixed zones": (
        "detector,time,count\na,2024-05-14T07:00:00+02:00,1\na,2024-05-14T07:15:00-07:00,1\n", "mixed zones",
    ),
    "offsets here and there": (
        "detector,time,count\na,2024-05-14T07:00:00+02:00,1\na,2024-05-14T07:15:00,1\n", "mixed zones",
    ),
    "half a line": ("detector,time,count\na,2024-05-14T07:00:00Z,1\na,2024-05-14T07:15", "half a file"),
    "no number": ("detector,time,count\na,2024-05-14T07:00:00Z,1\na,2024-05-14T07:15:00Z,many\n", "line 3"),
    "no time": ("detector,time,count\na,yesterday,1\n", "line 2"),
    "day or month": ("detector,time,count\na,05/06/2024 07:00,1\n", "one way only"),
    "binary": ("detector,time,count\n\0\0\0\n", "none of the known formats"),
    "twice a name": ("detector,time,count,count\na,2024-05-14T07:00:00Z,1,1\n", "twice"),
    "a name in two cases": ("detector,time,count,Count\na,2024-05-14T07:00:00Z,1,7\n", "the columns count and Count"),
    "CR alone": ("detector,time,count\ra,2024-05-14T07:00:00Z,1\r", "CR alone"),
    "infinite": ("detector,time,count\na,2024-05-14T07:00:00Z,1\na,2024-05-14T07:15:00Z,1e999\n", "line 3"),
    "half a lane": (
        "detector,time,count,lane\na,2024-05-14T07:00:00Z,1,1.5\na,2024-05-14T07:15:00Z,1,1.5\n", "'1.5', not a whole"
    ),
    "no place": (
        "detector,time,count,x\na,2024-05-14T07:00:00Z,1,inf\na,2024-05-14T07:15:00Z,1,inf\n", "'inf', not a number"
    ),
    "a name that commands": ("detector,time,count\n\x1b[31ma,2024-05-14T07:00:00Z,1\n", "a detector's name"),
    "one time": ("detector,time,count\na,2024-05-14T07:00:00Z,1\n", "--interval"),
    "half XML": (
        '<detector>\n<interval begin="0" end="60" id="a" nVehEntered="1" occupancy="1" speed="2"/>',
        "whole",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_file_of_counts_is_refused_in_a_line(tmp_path: Path, name: str) -> None:
    text, told = BAD[name]
    file = tmp_path / "counts.csv"
    file.write_text(text)
    assert told in refused(file, *ZONE, "--out", tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["counts.csv"], "nothing half written"


def test_files_cut_off_are_refused(tmp_path: Path) -> None:
    lines = "".join(f"a,2024-05-14T{h:02}:00:00Z,{h}\n" for h in range(24))
    packed = gzip.compress(("detector,time,count\n" + lines * 50).encode())
    (tmp_path / "half.csv.gz").write_bytes(packed[: len(packed) // 2])
    assert "half a file" in refused(tmp_path / "half.csv.gz", *ZONE, "--out", tmp_path / "out")
    table = pl.DataFrame({"detector": ["a"] * 24, "time": range(24), "count": range(24)})
    table.write_parquet(tmp_path / "whole.parquet")
    data = (tmp_path / "whole.parquet").read_bytes()
    (tmp_path / "half.parquet").write_bytes(data[: len(data) // 2])
    assert "whole Parquet file" in refused(tmp_path / "half.parquet", *ZONE, "--out", tmp_path / "out")
    assert "time stamps" in refused(tmp_path / "whole.parquet", *ZONE, "--out", tmp_path / "out")
    rows: list[list[str | float]] = [["Time", "NBL", "NBT", "NBR"], ["7:00 AM", 1, 2, 3]]
    data = workbook(tmp_path / "sheet.xlsx", rows).read_bytes()
    (tmp_path / "half.xlsx").write_bytes(data[: len(data) // 2])
    assert "workbook" in refused(tmp_path / "half.xlsx", *ZONE, "--out", tmp_path / "out")
    assert "names no day" in refused(tmp_path / "sheet.xlsx", *ZONE, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_zones_and_folders_are_checked(tmp_path: Path) -> None:
    file = written(
        tmp_path / "counts.csv", "detector,time,count", *(f"a,2024-05-14T{h:02}:00:00Z,1" for h in range(9))
    )
    assert "--zone" in refused(file, "--out", tmp_path / "out")
    assert "Europe/Berlin" in refused(file, "--zone", "Europe/Berlim", "--out", tmp_path / "out")
    assert "no column 'n'" in refused(file, *ZONE, "--columns", "count=n", "--out", tmp_path / "out")
    assert "--interval" in refused(file, *ZONE, "--interval", "7000", "--out", tmp_path / "out")
    (tmp_path / "mine").mkdir()
    written(tmp_path / "mine" / "letter.txt", "Dear")
    assert "would be lost" in refused(file, *ZONE, "--out", tmp_path / "mine")
    assert imported(tmp_path / "out", file, *ZONE).about.interval_s == 3600
    assert CountsFolder(imported(tmp_path / "out", file, *ZONE).path).frame().height == 9, "an older one is replaced"
