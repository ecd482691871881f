"""When a node says what: the heartbeat and the timings right after a result where results come, else by the clock."""

from __future__ import annotations

import threading
import time

import pytest

pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from support.processes import Ros

from perf_inference.measure.stamps import Timing
from perf_inference.nodes.reports.messages import OK
from perf_inference.nodes.reports.reporter import STATUS_QOS, TIMING_QOS, Report, Reporter

PERIOD_S = 0.08


def timing(number: int) -> Timing:
    return Timing("test", "m", "fp32", "cpu", number, None, None, 1, 1, {"infer": 1}, 1, None, 0, None, None, False, {})


@pytest.mark.timing
def test_it_speaks_right_after_results(ros: Ros) -> None:
    newest, after_s = [0.0], list[float]()

    def report() -> Report:
        after_s.append(time.monotonic() - newest[0])
        return Report(OK, "fine", {})

    reporter = Reporter(ros.node, report)
    beats = ros.collect(DiagnosticStatus, "inference/status", STATUS_QOS)
    arrays = ros.collect(DiagnosticArray, "inference/timing", TIMING_QOS)
    number, until = 0, time.monotonic() + 6.0

    def work() -> None:
        nonlocal number
        while time.monotonic() < until:
            time.sleep(PERIOD_S)
            newest[0] = time.monotonic()
            reporter.add(timing(number))
            number += 1

    worker = threading.Thread(target=work)
    worker.start()
    ros.spin_until(lambda: not worker.is_alive(), 20)
    print("seconds after a result:", [round(each, 3) for each in after_s])
    assert 8 <= len(beats) <= 13
    assert sum(each < PERIOD_S / 4 for each in after_s[1:]) >= 0.8 * len(after_s[1:])
    assert ros.spin_until(lambda: sum(len(array.status) for array in arrays) == number, 2)  # the last ones too
    assert 0.4 * number <= len(arrays) <= number  # 10 a second at most
    reporter.finish()


def test_without_results_it_beats_by_the_clock(ros: Ros) -> None:
    reporter = Reporter(ros.node, lambda: Report(OK, "fine", {}))
    beats = ros.collect(DiagnosticStatus, "inference/status", STATUS_QOS)
    arrays = ros.collect(DiagnosticArray, "inference/timing", TIMING_QOS)
    assert ros.spin_until(lambda: len(beats) >= 3, 10)
    for number in range(3):  # the first goes at once, and the others wait for more that never come
        reporter.add(timing(number))
    seen = len(beats)
    assert ros.spin_until(lambda: sum(len(array.status) for array in arrays) == 3, 10)
    assert ros.spin_until(lambda: len(beats) >= seen + 3, 10)
    reporter.finish()
