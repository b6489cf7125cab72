"""Names are text everywhere: whatever a run directory is called, tables and report show it, and a name that is no
text is refused before anything runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import polars as pl
import pytest

import evaluate
import export
import replay
import train
from deployment.emulator import __main__ as emulator
from deployment.field.eventlog import EventLog, read_log
from evaluation import tune
from evaluation.report.tables import _html
from plumbing.errors import InputError
from tests.test_report import content_of, results_of, untrained_run

ROOT = Path(__file__).resolve().parents[1]
SINGLE = ["--scenario", "single", "--begin", "0", "--end", "61"]
AS_THEY_ARE = ["p$a_{$q", "[red]x", "<b>&", "a|b", "{{x}}", ":smile:", 'b" id="y', "c\\", "אב ال"]
CUT = {
    "a\nb": "a\ufffdb~",
    "\u202eright to left\x1b[31m": "\ufffdright to left\ufffd[31m~",
    "l" * 255: "l" * 51 + "~",
}
NO_TEXT = os.fsdecode(b"no-\xff-text")


class Page(HTMLParser):
    """What a report's tables and figures say."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.cells: set[str] = set()
        self.headings: set[str] = set()
        self.drawn: set[str] = set()
        self._open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: object) -> None:
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        of = self.drawn if "svg" in self._open else self.headings if "thead" in self._open else self.cells
        of.add(data.strip())


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where runs with all these names were judged, into a folder with such a name."""
    folder = tmp_path_factory.mktemp("named")
    runs = [str(untrained_run(folder / name, seed)) for seed, name in enumerate((*AS_THEY_ARE, *CUT))]
    out = folder / "[out] $x_{$"
    words = ["--controllers", "greedy", *runs, "--seeds", "1", "--workers", "2", "--out", str(out)]
    assert evaluate.main([*SINGLE, *words]) == 0
    return out


def test_the_report_shows_every_name_as_it_is(named: Path) -> None:
    page = Page((named / "report.html").read_text())
    labels = [path.name for path in (named / "runs").iterdir() if path.name != "greedy"]
    assert {label for label in labels if label in AS_THEY_ARE} == set(AS_THEY_ARE)
    for begin in CUT.values():
        assert len([label for label in labels if label.startswith(begin) and len(label) <= 60]) == 1
    assert set(labels) <= page.cells
    assert set(labels) <= page.drawn


def test_names_head_the_columns_of_the_two_compared() -> None:
    content = content_of(results_of("greedy", [30.0]), [])
    rows = [{"signal": "s", **{f"{name}|mean [s]": "1" for name in ("{{x}}", "{{x}}|<b>", "a")}}]
    page = Page(_html(content, rows, "movements"))
    assert page.headings >= {"{{x}}", "{{x}}|<b>", "a", "mean [s]"}
    assert len([said for said in page.headings if "mean" in said]) == 1


def test_tables_hold_every_name(named: Path) -> None:
    names = [entry["controller"] for entry in json.loads((named / "summary.json").read_text())["controllers"]]
    assert {Path(name).name for name in names} == {"greedy", *AS_THEY_ARE, *CUT}
    assert pl.read_csv(named / "results.csv", glob=False)["controller"].to_list() == names


@pytest.mark.wide
def test_a_terminal_shows_every_name_on_one_line(
    named: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(named.parent.parent)  # the tables have room for a short path
    names = ("\u202eright to left\x1b[31m", "[red]x", ":smile:", "c\\", "a\nb")
    runs = [f"{named.parent.name}/{name}" for name in names]
    assert evaluate.main([*SINGLE, "--controllers", *runs, "--seeds", "1"]) == 0
    said = capsys.readouterr().out
    for name in ("/[red]x ", "/:smile: ", "/c\\ ", "/a\ufffdb ", "/\ufffdright to", "left\ufffd[31m"):
        assert name in said
    assert "\x1b" not in said


def test_the_rotated_files_of_a_log_are_found_whatever_its_name(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "[log]*", {}, rotate_bytes=60)
    for number in range(5):
        log.turn(dict)
        log.write({"k": "event", "number": number})
    log.close()
    assert len(list(tmp_path.iterdir())) > 1
    numbers = [record["number"] for record in read_log(tmp_path / "[log]*") if record["k"] == "event"]
    assert numbers == list(range(5))


@pytest.mark.parametrize(
    ("main", "words"),
    [
        (evaluate.main, [*SINGLE, "--controllers", "greedy", "--seeds", "1", "--out", NO_TEXT]),
        (evaluate.main, [*SINGLE, "--controllers", f"runs/{NO_TEXT}"]),
        (tune.main, [*SINGLE, "--controllers", "greedy", "--runs", "12", "--out", NO_TEXT]),
        (train.main, [*SINGLE, "--steps", "50", "--out", NO_TEXT]),
        (train.main, [*SINGLE, "--steps", "50", "--out", "run", "--from", NO_TEXT]),
        (export.main, ["bundle", "runs/any", "--out", NO_TEXT]),
        (export.main, ["bundle", f"runs/{NO_TEXT}", "--out", "bundle"]),
        (replay.main, ["record", *SINGLE, "--controller", "greedy", "--out", NO_TEXT]),
        (replay.main, ["record", *SINGLE, "--controller", f"runs/{NO_TEXT}", "--out", "mine.replay"]),
        (replay.main, ["view", "mine.replay", "--out", NO_TEXT]),
        (emulator.main, ["--scenario", "single", "--port", "0", "--log-port", "0", "--out", NO_TEXT]),
    ],
)
def test_a_name_that_is_no_text_is_refused_before_anything_runs(
    main: object, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"no-\\udcff-text' holds bytes that are no UTF-8; choose or make another"):
        main(words)  # type: ignore[operator]
    assert list(tmp_path.iterdir()) == []


def test_nor_may_the_folder_that_it_is_started_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / NO_TEXT).mkdir()
    monkeypatch.chdir(tmp_path / NO_TEXT)
    with pytest.raises(InputError, match="holds bytes that are no UTF-8"):
        evaluate.main([*SINGLE, "--controllers", "greedy", "--seeds", "1", "--out", "out"])
    assert list(Path().iterdir()) == []


@pytest.mark.wide
def test_any_word_of_a_command_has_to_be_text_and_an_error_is_one_line(tmp_path: Path) -> None:
    for word, said in ((b"--scenario=\xff", r"'--scenario=\udcff' holds bytes"), (b"--scenario=a\nb", "scenario 'a")):
        done = subprocess.run([sys.executable, "evaluate.py", word], cwd=ROOT, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (2, "")
        assert said in done.stderr
        assert done.stderr.count("\n") == 1
