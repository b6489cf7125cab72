"""What becomes of a configuration's options: each is honoured, refused, or named in a line as set aside."""

from __future__ import annotations

import argparse
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
import sumo

import train
from agents.job import where_words
from envs.options import split_options
from envs.sumo.setup import SimulationOptions, make_setup
from envs.workers.client import RemoteSimulation
from envs.workers.server import WorkerSetup
from plumbing.errors import InputError
from scenarios import sumo_input
from scenarios.arguments import add_scenario_arguments, add_timing_arguments, timing_from
from scenarios.clock import timing_for
from scenarios.config import INPUTS, REFUSED, read_config, same_value
from scenarios.loading import load
from signals.timing import Timing

CASE = Path(__file__).parent / "data" / "cases" / "waut_baseline"
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a configuration of the case's network and routes with further options."""

    def written(name: str = "my.sumocfg", **options: str) -> Path:
        lines = "".join(f'<{key.replace("_", "-")} value="{value}"/>' for key, value in options.items())
        path = tmp_path / name
        path.write_text(
            f'<configuration><input><net-file value="{CASE}/my.net.xml"/><route-files value="{CASE}/my.rou.xml"/>'
            f'</input><time><begin value="0"/><end value="300"/></time><processing>{lines}</processing>'
            "</configuration>"
        )
        return path

    return written


@dataclass(frozen=True)
class Option:
    """One of SUMO's options."""

    name: str
    default: str
    kind: str
    synonyms: tuple[str, ...]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Option]:
    """SUMO's options, by its own word."""
    path = tmp_path_factory.mktemp("template") / "all.sumocfg"
    subprocess.run([f"{sumo.SUMO_HOME}/bin/sumo", "--save-template", str(path)], capture_output=True, check=True)
    root = ElementTree.parse(path).getroot()
    return {
        e.tag: Option(e.tag, e.get("value", ""), e.get("type", ""), tuple(e.get("synonymes", "").split()))
        for part in root
        for e in part
    }


def test_no_option_of_sumos_is_dropped_silently(
    template: Mapping[str, Option], write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    assert len(template) > 400
    text = write().read_text()
    for number, option in enumerate(template.values()):
        if option.name in INPUTS:
            continue
        value = "true" if option.default == "false" else "false" if option.default == "true" else "3"
        path = write(f"{number}.sumocfg")
        path.write_text(text.replace("<processing>", f'<processing><{option.name} value="{value}"/>'))
        caplog.clear()
        if option.name in REFUSED:
            with pytest.raises(InputError, match=option.name):
                read_config(path)
            continue
        honoured = option.name in dict(read_config(path).options)
        said = [line for line in caplog.messages if f"{option.name} (" in line or line.endswith(f": {option.name}")]
        assert honoured != bool(said), option.name


def test_the_lists_are_those_of_sumos_template(
    template: Mapping[str, Option], caplog: pytest.LogCaptureFixture
) -> None:
    ours = sumo_input.lists()
    aside = {**ours.of_the_run, **ours.left_out}
    assert template.keys() == {*INPUTS, *ours.options, *aside}
    assert len(template) == len(INPUTS) + len(ours.options) + len(ours.of_the_run) + len(ours.left_out)
    assert {name: option.default for name, option in template.items() if name in aside} == aside
    kinds = {name: option.kind for name, option in template.items() if name not in aside}
    assert {**ours.options, **INPUTS} == kinds
    names = {word: option.name for option in template.values() for word in option.synonyms if "knownveh" not in word}
    assert dict(ours.synonyms) == names


def test_sumos_defaults_are_not_worth_a_line(
    template: Mapping[str, Option], write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    path = write()
    all_of_them = "".join(
        f'<{option.name} value="{option.default}"/>'
        for option in template.values()
        if option.name not in INPUTS and option.default
    )
    path.write_text(path.read_text().replace("<processing>", f"<processing>{all_of_them}"))
    read_config(path)
    assert not caplog.messages


@pytest.mark.parametrize("name", REFUSED)
def test_what_leaves_nothing_to_control_is_refused(write: Write, name: str) -> None:
    with pytest.raises(InputError, match=rf"my\.sumocfg sets {name}: .*; take it out"):
        load(write(**{name: "true"}))
    assert read_config(write(**{name: "false"})).options == ((name, "false"),)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("300", "300.0", True), ("0:05:00", "300", True), ("-1", "-1.00", True), ("true", "1", True),
        ("no", "false", True), ("300", "-1", False), ("true", "false", False), ("", "-1", False), ("a", "b", False),
    ],
)  # fmt: skip
def test_the_same_value_in_other_words(one: str, other: str, same: bool) -> None:
    assert same_value(one, other) == same


def test_what_a_run_sets_itself_is_told_once(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    scenario = load(write("c1.sumocfg", time_to_teleport="120", max_depart_delay="60", step_length="0.5"))
    outputs = ["--max-depart-delay", "-1"]
    for _ in range(2):
        make_setup(scenario, SimulationOptions(timing=Timing(sim_step_s=1.0)), outputs=outputs)
    assert caplog.messages == [
        "scenario 'c1': its time-to-teleport (120) is set aside: runs have -1, so that nobody is taken out of a jam",
        "scenario 'c1': its max-depart-delay (60) is set aside: runs have -1, so that who waits to be let in counts",
        "scenario 'c1': its step-length (0.5) is set aside: runs have 1, as the timing says",
    ]
    caplog.clear()
    quiet = load(write("quiet.sumocfg", time_to_teleport="-1.0", step_length="0:00:00.5"))
    make_setup(quiet)
    assert not caplog.messages


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_scenario_arguments(parser)
    add_timing_arguments(parser)
    return parser.parse_args(words)


def test_a_configurations_step_is_the_default_everywhere(write: Write, tmp_path: Path) -> None:
    path = write(step_length="0.5")
    half = Timing(sim_step_s=0.5)
    scenario = load(path)
    assert timing_from(parsed("--scenario", str(path))) == half
    assert timing_for(scenario) == timing_for(path) == half
    assert split_options(scenario=path).timing == split_options(scenario=scenario).timing == half
    setup = make_setup(scenario)
    assert setup.timing == half
    assert setup.sumo_args[setup.sumo_args.index("--step-length") + 1] == "0.5"
    # who asks for another has it
    assert timing_from(parsed("--scenario", str(path), "--sim-step", "1")) == Timing()
    assert split_options(scenario=path, timing=Timing()).timing == Timing()
    # and a scenario that says nothing has ours
    for quiet in ("cologne1", "single", "grid:2x2", write("quiet.sumocfg"), CASE / "my.net.xml", tmp_path / "none"):
        assert timing_for(quiet) == Timing()


def test_a_step_that_does_not_fit_the_decisions_is_refused_with_its_place(write: Write) -> None:
    with pytest.raises(
        InputError, match=r"decision_interval_s 5.0 is no multiple.*step-length; choose timing that fits it"
    ):
        timing_for(write(step_length="0.3"))
    assert timing_for(write(step_length="0.3"), decision_interval_s=6.0).sim_step_s == 0.3
    with pytest.raises(InputError, match=r"my\.sumocfg: step-length is no time \(.*'soon'\); give seconds"):
        load(write(step_length="soon"))
    with pytest.raises(InputError, match=r"my\.sumocfg: end is no time \('nan' is not finite\); give seconds"):
        load(write(end="nan"))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("lateral-resolution", "abc", "'abc', which is no number"),
        ("lateral-resolution", "1_0", "'1_0', which is no number"),
        ("max-num-vehicles", "1.0", "'1.0', which is no whole number"),
        ("max-num-vehicles", "99999999999", "'99999999999', which is no whole number"),
        ("eager-insert", "2", "'2', which is neither true nor false"),
    ],
)
def test_a_value_that_sumo_would_refuse_is_refused(write: Write, name: str, value: str, message: str) -> None:
    path = write(**{name: value})
    run = subprocess.run([f"{sumo.SUMO_HOME}/bin/sumo", "-c", path], capture_output=True, text=True, check=False)
    assert f"'{value}' is not a valid" in run.stderr, "SUMO leaves the option out"
    with pytest.raises(InputError, match=rf"my\.sumocfg: {name} is {message}; correct it"):
        load(path)


@pytest.mark.parametrize(
    ("name", "value"), [("lateral-resolution", ".8e0"), ("max-num-vehicles", "+3"), ("eager-insert", "X")]
)
def test_a_value_that_sumo_takes_is_taken(write: Write, name: str, value: str) -> None:
    assert dict(load(write(**{name: value})).options)[name] == value


def test_the_line_that_repeats_a_training_says_the_step_where_a_configuration_might(write: Write) -> None:
    for name, step_s in (
        (str(write(step_length="0.5")), ["0.5"]),
        (str(write("one.sumocfg")), ["1.0"]),
        ("cologne1", []),
    ):
        job = train._job(train.parser().parse_args(["--scenario", name, "--steps", "10", "--out", "unused"]))
        words = list(where_words(job))
        assert [after for word, after in pairwise(words) if word == "--sim-step"] == step_s


@pytest.mark.wide
def test_demand_range_comes_on_top_of_the_configurations_scale(write: Write, tmp_path: Path) -> None:
    scenario = load(write(scale="0.2"))
    departed = []
    for demand_range in ((0.999, 1.001), (2.0, 2.0)):
        statistics = tmp_path / "statistics.xml"
        setup = make_setup(
            scenario, SimulationOptions(demand_range=demand_range), outputs=["--statistic-output", str(statistics)]
        )
        with RemoteSimulation(WorkerSetup(setup, reward="", observation="")) as simulation:
            simulation.begin(5)
            while not simulation.done:
                simulation.decide(simulation.snapshot.phase)
            simulation.end()
        vehicles = ElementTree.parse(statistics).getroot().find("vehicles")
        assert vehicles is not None
        departed.append(int(vehicles.get("loaded", "")))
    assert departed == [scenario.demand_counts()[0], 48] == [24, 48]
