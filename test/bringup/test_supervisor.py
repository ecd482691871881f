"""Real processes: restarted with back-off, given up after three, not retried when misconfigured, gone after stop."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.processes import wait_until

from perf_inference.bringup import supervisor as module
from perf_inference.bringup.supervisor import Supervisor
from perf_inference.errors import EX_CONFIG


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BACK_OFF_S", (0.01, 0.02, 0.03))
    monkeypatch.setattr(module, "_START_CPU_S", 0.0)


def python(code: str) -> list[str]:
    return [sys.executable, "-S", "-c", code]


def test_they_start_one_after_another_and_none_after_a_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_START_CPU_S", 0.1 * len(os.sched_getaffinity(0)))
    supervisor, _ = supervise(**dict.fromkeys("abc", "import time; time.sleep(60)"))
    a, b, c = supervisor.children
    assert (a.launches, b.launches, c.launches) == (1, 0, 0)
    assert supervisor.running
    assert supervisor.starting
    assert wait_until(lambda: supervisor.poll() or b.launches)
    assert b.started_s - a.started_s >= 0.1
    assert wait_until(lambda: time.monotonic() >= b.started_s + 0.1)  # its time has come
    supervisor.stop()
    assert (a.launches, b.launches, c.launches) == (1, 1, 0)
    assert not supervisor.starting
    assert supervisor.fates() == []


def supervise(**codes: str) -> tuple[Supervisor, list[str]]:
    said: list[str] = []
    supervisor = Supervisor({name: python(code) for name, code in codes.items()}, os.environ, said.append)
    supervisor.start()
    return supervisor, said


def test_one_that_dies_is_restarted_three_times_and_the_others_go_on() -> None:
    supervisor, said = supervise(bad="raise SystemExit(3)", good="import time; time.sleep(60)")
    assert wait_until(lambda: supervisor.poll() or supervisor.given_up == ["bad"])
    assert said == [
        "bad ended with status 3; restart 1 of 3 in 0.01 s",
        "bad ended with status 3; restart 2 of 3 in 0.02 s",
        "bad ended with status 3; restart 3 of 3 in 0.03 s",
        "bad ended with status 3 and was given up after 3 restarts",
    ]
    assert supervisor.running
    supervisor.stop()
    assert not supervisor.running
    assert supervisor.fates(again=False) == ["bad ended with status 3 and was given up after 3 restarts"]
    assert not supervisor.refused


def test_a_wrong_configuration_is_not_tried_again() -> None:
    supervisor, said = supervise(bad=f"raise SystemExit({EX_CONFIG})")
    assert wait_until(lambda: supervisor.poll() or supervisor.misconfigured == ["bad"])
    assert wait_until(lambda: supervisor.poll() or not supervisor.running)
    assert len(said) == 1
    assert "its configuration is wrong" in said[0]
    assert supervisor.refused
    supervisor.stop()
    assert (supervisor.fates(), supervisor.fates(again=False)) == (said, [])  # it has just been said


def test_the_only_process_is_restarted_too_and_told_so() -> None:
    code = "import os, time; time.sleep(60 if 'PERF_INFERENCE_RESTARTED' in os.environ else 0); raise SystemExit(3)"
    supervisor, said = supervise(only=code)
    assert wait_until(lambda: not supervisor.children[0].alive)
    assert supervisor.running  # before anybody has looked
    assert wait_until(lambda: supervisor.poll() or (said and supervisor.children[0].alive))
    assert supervisor.fates() == ["only was restarted once: it ended with status 3 once"]
    supervisor.stop()


def test_it_is_told_how_often_and_why_each_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEALTHY_S", 0.0)  # each has its restarts back at once
    supervisor, _ = supervise(killed="import time; time.sleep(60)", other="import time; time.sleep(60)")
    killed, other = supervisor.children
    for number, how in enumerate((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV), 1):
        assert wait_until(lambda n=number: supervisor.poll() or (killed.alive and killed.launches == n))
        assert killed.process is not None
        os.kill(killed.process.pid, how)
        killed.process.wait(10)
    assert wait_until(lambda: supervisor.poll() or (killed.alive and killed.launches == 5))
    assert other.process is not None
    os.kill(other.process.pid, signal.SIGKILL)
    other.process.wait(10)
    monkeypatch.setattr(module, "BACK_OFF_S", (60.0,) * 3)
    supervisor.stop()  # sees that it died before it was asked to end
    assert supervisor.fates() == [
        "killed was restarted 4 times: it was killed by SIGKILL twice, was killed by SIGTERM once, "
        "was killed by SIGSEGV once",
        "other was not restarted before the end: it was killed by SIGKILL once",
    ]
    assert supervisor.given_up == []


def test_one_that_a_signal_ended_in_order_is_restarted_and_named() -> None:
    # A node ends with 128 + the signal's number where it was not the supervisor who sent it.
    code = "import os, time; time.sleep(60 if 'PERF_INFERENCE_RESTARTED' in os.environ else 0); raise SystemExit(143)"
    supervisor, said = supervise(only=code)
    assert wait_until(lambda: supervisor.poll() or (said and supervisor.children[0].alive))
    supervisor.stop()
    assert said[0].startswith("only was ended by SIGTERM; restart 1 of 3")
    assert supervisor.fates() == ["only was restarted once: it was ended by SIGTERM once"]


def test_one_that_fails_while_it_is_stopped_is_named(tmp_path: Path) -> None:
    flag = tmp_path / "ready"
    code = f"import signal,time,os\nsignal.signal(signal.SIGTERM, lambda *a: os._exit(5))\nopen({str(flag)!r}, 'w')\n"
    supervisor, said = supervise(bad=code + "time.sleep(60)")
    assert wait_until(flag.exists)
    supervisor.stop()
    assert said == supervisor.fates() == ["bad ended with status 5 while it was stopped"]
    assert supervisor.given_up == ["bad"]


def test_one_that_has_done_its_work_is_not_started_again() -> None:
    supervisor, said = supervise(done="pass")
    assert wait_until(lambda: supervisor.poll() or not supervisor.running)
    assert said == ["done has finished"]
    assert (supervisor.given_up, supervisor.fates()) == ([], [])


@pytest.mark.slow
def test_one_that_gets_no_processor_is_given_time(tmp_path: Path) -> None:
    core = str(min(os.sched_getaffinity(0)))
    work = (
        "import os,signal,sys,time\n"
        "def end(*_):\n    b = time.process_time()\n    while time.process_time() < b + 0.6: pass\n    os._exit(0)\n"
        f"signal.signal(signal.SIGTERM, end); open({str(tmp_path / 'up')!r}, 'w'); time.sleep(60)"
    )
    supervisor, said = supervise(slow=work)
    assert wait_until(lambda: (tmp_path / "up").exists())
    [slow] = supervisor.children
    assert slow.process is not None
    os.sched_setaffinity(slow.process.pid, {int(core)})
    spin = ["taskset", "-c", core, sys.executable, "-c", "while True: pass"]
    busy = [subprocess.Popen(spin, start_new_session=True) for _ in range(3)]  # a session has its share
    try:
        time.sleep(0.3)
        end_s = time.monotonic() + 1.5

        def free_it() -> None:
            if time.monotonic() > end_s:
                for process in busy:
                    process.kill()
            time.sleep(0.01)

        supervisor.stop(free_it, timeout_s=0.2)
    finally:
        for process in busy:
            process.kill()
            process.wait()
    assert said == []


def test_one_that_does_not_end_is_killed_and_named() -> None:
    stubborn = "import signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); open({!r}, 'w'); time.sleep(60)"
    flag = f"/tmp/perf_inference_test_{os.getpid()}"
    supervisor, said = supervise(stubborn=stubborn.format(flag))
    try:
        assert wait_until(lambda: os.path.exists(flag))
        began = time.monotonic()
        supervisor.stop(timeout_s=0.1)
        assert time.monotonic() - began < 30  # of its 60
        assert re.fullmatch(r"stubborn did not end within [0-9.]+ s and was killed", said[0])
        assert not supervisor.running
    finally:
        os.unlink(flag)
