"""A number of an option that cannot be is wrong usage, said before anything is measured."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Iterator

import pytest

from perf_inference import cli, quantities
from perf_inference.commands import bench

TYPES = (quantities.positive, quantities.whole, quantities.above_zero, quantities.not_negative)  # in one order
PLAIN = {"demo --seed"}  # of any sign
CHECKED = {"prune --structured", "prune --magnitude", "compare --tolerance", "compare --pairs"}  # by their command


def options() -> Iterator[tuple[str, argparse.Action]]:
    """Yield each option of each command and benchmark that takes a number, with who has it."""
    named = {name: importlib.import_module(f"perf_inference.commands.{name}") for name in cli.COMMANDS}
    del named["bench"]
    named |= {f"bench {name}": bench.module_of(name) for name in bench.BENCHES}
    for name, module in named.items():
        parser = argparse.ArgumentParser()
        module.add_arguments(parser)
        for action in parser._actions:
            if action.type in {int, float, *TYPES} and action.option_strings and not action.choices:
                yield f"{name} {action.option_strings[0]}", action


OPTIONS = dict(options())


def test_there_are_many() -> None:
    assert len(OPTIONS) > 40


@pytest.mark.parametrize("named", [name for name, action in OPTIONS.items() if action.type in {int, float}])
def test_plain_numbers_are_few(named: str) -> None:
    assert named in PLAIN | CHECKED


@pytest.mark.parametrize("value", ["-1", "-0.5", "nan", "inf", "-inf", "many", "", "1e400"])
@pytest.mark.parametrize("kind", TYPES)
def test_what_cannot_be_is_refused(kind: object, value: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=f"must be a .* got '{value}'"):
        kind(value)  # type: ignore[operator]


def test_zero_is_a_number_where_it_means_something() -> None:
    assert (quantities.whole("0"), quantities.not_negative("0")) == (0, 0.0)
    for kind in (quantities.positive, quantities.above_zero):
        with pytest.raises(argparse.ArgumentTypeError, match="above 0"):
            kind("0")


def test_a_benchmark_is_not_run_so_many_times(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["bench", "vision", "--times", "-5"])
    assert ended.value.code == 2
    assert "must be a whole number above 0, got '-5'" in capsys.readouterr().err
