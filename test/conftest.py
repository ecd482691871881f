"""Fixtures: a private ROS domain per test, and nodes and commands as real processes."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.paths import SHARED_DATA, TESTS
from support.processes import Process, Ros, end_all, inherited
from support.turns import turn

from perf_inference.bringup.domain import free_domain

_WITH_PROCESSES = {"domain", "ros", "start_node", "start_command", "launched", "server"}  # fixtures
# How often a test may run, each time with new fixtures, until it is red: one whose verdict depends on time, or one
# that starts processes, which others can keep from answering within any limit. The output shows each repeat.
_TIMES = 3


collect_ignore: list[str] = []


def pytest_configure(config: pytest.Config) -> None:
    """Leave alone the files that are all of PyTorch where no test of it is wanted: importing it takes a second."""
    if "not torch" in str(config.option.markexpr):
        mark = re.compile(r"^pytestmark = .*pytest\.mark\.torch\b", re.MULTILINE)
        collect_ignore.extend(str(path) for path in TESTS.rglob("test_*.py") if mark.search(path.read_text()))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the tests that start ROS processes, and the long ones; put last those that run alone."""
    for item in items:
        if item.get_closest_marker("thorough"):
            item.add_marker("long")
        if _WITH_PROCESSES & set(getattr(item, "fixturenames", ())):
            item.add_marker("process")
        if item.get_closest_marker("timing"):
            item.add_marker("alone")
        repeats = item.get_closest_marker("timing") or item.get_closest_marker("process")
        if repeats and config.pluginmanager.hasplugin("pytest-retry"):
            item.add_marker(pytest.mark.flaky(retries=_TIMES - 1))  # also says what it did
    items.sort(key=lambda item: item.get_closest_marker("alone") is not None)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Keep all other tests of this checkout from running beside one that runs alone."""
    with turn(alone=item.get_closest_marker("alone") is not None):
        yield


@pytest.fixture
def tmp_path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new folder: pytest's own cannot be taken down a second time, when a test is repeated."""
    return tmp_path_factory.mktemp(re.sub(r"\W", "_", request.node.name)[:30])


@pytest.fixture
def domain(monkeypatch: pytest.MonkeyPatch) -> int:
    """A ROS domain that nobody else uses, for this test and the processes that it starts."""
    number = free_domain()
    monkeypatch.setenv("ROS_DOMAIN_ID", str(number))
    return number


@pytest.fixture
def ros(domain: int) -> Iterator[Ros]:
    """A node of the test in its domain."""
    pytest.importorskip("rclpy")
    helper = Ros()
    yield helper
    helper.close()


@pytest.fixture
def start_node(domain: int) -> Iterator[Callable[..., Process]]:
    """Start `start_node("yolo_node", "-p", "model:=detector", env={...})`; all are ended after the test."""
    started: list[Process] = []

    def start(name: str, *ros_args: str, env: dict[str, str] | None = None) -> Process:
        command = [sys.executable, "-m", f"perf_inference.nodes.{name}", "--ros-args", *ros_args]
        process = Process(command, {**inherited(), "PYTHONUNBUFFERED": "1", **(env or {})})
        started.append(process)
        return process

    yield start
    end_all(started, signal.SIGINT)


@pytest.fixture
def start_command(domain: int) -> Iterator[Callable[..., Process]]:
    """Start `start_command("demo", "--duration", "5")`: the command line in a process of its own."""
    started: list[Process] = []

    def start(*arguments: str, env: dict[str, str] | None = None) -> Process:
        command = [sys.executable, "-m", "perf_inference.cli", *arguments]
        process = Process(command, {**inherited(), "PYTHONUNBUFFERED": "1", **(env or {})})
        started.append(process)
        return process

    yield start
    end_all(started, signal.SIGTERM)


@pytest.fixture
def shared_data() -> Path:
    """Real images, models and bags that are not part of this package."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no test data at {SHARED_DATA}; set PERF_INFERENCE_TEST_DATA")
    return SHARED_DATA
