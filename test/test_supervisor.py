"""Real processes: restarted with back-off, given up after three, not retried when misconfigured, gone after stop."""

from __future__ import annotations

import os
import sys
import time

import pytest
from conftest import wait_until

from perf_inference import supervisor as module
from perf_inference.errors import EX_CONFIG
from perf_inference.supervisor import Supervisor


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BACK_OFF_S", (0.01, 0.02, 0.03))


def python(code: str) -> list[str]:
    return [sys.executable, "-S", "-c", code]


def supervise(**codes: str) -> tuple[Supervisor, list[str]]:
    said: list[str] = []
    supervisor = Supervisor({name: python(code) for name, code in codes.items()}, os.environ, said.append)
    supervisor.start()
    return supervisor, said


def test_one_that_dies_is_restarted_three_times_and_the_others_go_on() -> None:
    supervisor, said = supervise(bad="raise SystemExit(3)", good="import time; time.sleep(60)")
    assert wait_until(lambda: supervisor.poll() or supervisor.given_up == ["bad"])
    assert [line.partition(" in ")[0] for line in said] == [
        "bad ended with status 3; restart 1 of 3",
        "bad ended with status 3; restart 2 of 3",
        "bad ended with status 3; restart 3 of 3",
        "bad ended with status 3 and was given up after 3 restarts",
    ]
    assert supervisor.running
    supervisor.stop()
    assert not supervisor.running
    assert supervisor.fates() == ["bad ended with status 3 and was given up after 3 restarts"]


def test_a_wrong_configuration_is_not_tried_again() -> None:
    supervisor, said = supervise(bad=f"raise SystemExit({EX_CONFIG})")
    assert wait_until(lambda: supervisor.poll() or supervisor.misconfigured == ["bad"])
    assert wait_until(lambda: supervisor.poll() or not supervisor.running)
    assert len(said) == 1
    assert "its configuration is wrong" in said[0]


def test_the_only_process_is_restarted_too_and_told_so() -> None:
    code = "import os, time; time.sleep(60 if 'PERF_INFERENCE_RESTARTED' in os.environ else 0); raise SystemExit(3)"
    supervisor, said = supervise(only=code)
    assert wait_until(lambda: not supervisor.children[0].alive)
    assert supervisor.running  # before anybody has looked
    assert wait_until(lambda: supervisor.poll() or (said and supervisor.children[0].alive))
    assert supervisor.fates() == ["only was restarted once"]
    supervisor.stop()


def test_one_that_has_done_its_work_is_not_started_again() -> None:
    supervisor, said = supervise(done="pass")
    assert wait_until(lambda: supervisor.poll() or not supervisor.running)
    assert said == ["done has finished"]
    assert (supervisor.given_up, supervisor.fates()) == ([], [])


def test_one_that_does_not_end_is_killed_and_named() -> None:
    stubborn = "import signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); open({!r}, 'w'); time.sleep(60)"
    flag = f"/tmp/perf_inference_test_{os.getpid()}"
    supervisor, said = supervise(stubborn=stubborn.format(flag))
    try:
        assert wait_until(lambda: os.path.exists(flag))
        began = time.monotonic()
        supervisor.stop(timeout_s=0.1)
        assert time.monotonic() - began < 5
        assert said == ["stubborn did not end within 0.1 s and was killed"]
        assert not supervisor.running
    finally:
        os.unlink(flag)
