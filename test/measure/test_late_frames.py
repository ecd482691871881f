"""A stall is seen by every frame that it held up, not only by the one that was in the engine."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pytest

from perf_inference.engines.engine import ArraySpec
from perf_inference.errors import EngineError
from perf_inference.measure.clocks import CLOCKS, Clocks
from perf_inference.measure.due import DueGrid
from perf_inference.measure.stamps import Arrival, Scalar, Timing
from perf_inference.measure.statistics import Distribution
from perf_inference.measure.warmup import AT_MOST, WarmUp
from perf_inference.pipeline import Frame, Model, Pipeline
from perf_inference.testing.fakes import Arrays, FakeClock, FakeEngine, FakeTask, ListRecorder

MS = 1_000_000
PERIOD_NS = 10 * MS
SYSTEM_OFFSET_NS = 1_700_000_000_000_000_000
X = np.zeros(1, np.float32)


X_SPEC = (ArraySpec("x", (1,), np.dtype(np.float32)),)


class NumberedFrames(FakeTask):
    """Knows which frame is in the engine."""

    in_engine = -1

    def preprocess(self, frame: Any) -> tuple[Arrays, Any]:
        self.in_engine = frame
        return super().preprocess(frame)

    def extra(self, result: Any, context: Any) -> Mapping[str, Scalar]:
        return {"frame": result}


class Robot(ListRecorder):
    """A pipeline whose engine takes what it is told; the frames' numbers are their messages."""

    def __init__(self, queue_size: int, infer: Callable[[int], None], clocks: Clocks) -> None:
        super().__init__()
        self._clocks, self._grid = clocks, DueGrid(1e9 / PERIOD_NS)
        task = NumberedFrames({"x": X})

        def answer(inputs: Arrays) -> Arrays:
            infer(task.in_engine)
            return inputs

        model = Model(FakeEngine(X_SPEC, X_SPEC, answer), task)
        self.pipeline = Pipeline(
            "node", self.decode, model, self.publish, self.timing, self.problem, queue_size, clocks=clocks
        )

    def arrive(self, frame: int) -> None:
        monotonic_ns, received_ns = self._clocks.pair()
        self.pipeline.offer(Arrival(frame, monotonic_ns, received_ns, received_ns, self._grid.due(received_ns)))

    def decode(self, arrival: Arrival, task: Any) -> Frame:
        return Frame(arrival.message, arrival.stamp_ns)

    def print_figures(self, name: str) -> None:
        """Print the naive figure beside the true one."""
        naive = Distribution.of(t.stages_ns["infer"] for t in self.timings).summary_ms()
        due = Distribution.of(t.due_latency_ns for t in self.timings if t.due_latency_ns is not None).summary_ms()
        counts = self.pipeline.ledger.snapshot()
        ages = [t.dropped_age_ns / MS for t in self.timings if t.dropped_age_ns is not None]
        for what, figures in (("naive: the engine's time", naive), ("from the due time", due)):
            print(f"{name}, {what:<25} " + "  ".join(f"{k} {v}" for k, v in figures.items()) + " [ms]")
        print(f"{name}: {counts.replaced} replaced" + (f", the oldest {max(ages):.1f} ms old" if ages else ""))


class Play:
    """Frames that come at their times while the engine works, all on one fake clock."""

    def __init__(self, queue_size: int, frames: int, work_ms: Callable[[int], float]) -> None:
        self.clock = FakeClock(0, SYSTEM_OFFSET_NS)
        self._coming, self._frames = 0, frames
        self.robot = Robot(queue_size, lambda frame: self._work(work_ms(frame)), self.clock.clocks())

    def _work(self, ms: float) -> None:
        self._until(self.clock.now_ns + round(ms * MS))

    def _until(self, then_ns: int) -> None:
        while self._coming < self._frames and self._coming * PERIOD_NS <= then_ns:
            self.clock.now_ns = self._coming * PERIOD_NS
            self.robot.arrive(self._coming)
            self._coming += 1
        self.clock.now_ns = then_ns

    def run(self) -> dict[int, Timing]:
        """Return the timing of each frame that was processed."""
        while self._coming < self._frames:
            self._until(self._coming * PERIOD_NS)
            while self.robot.pipeline.step(0):
                pass
        return {int(t.extra["frame"] or 0): t for t in self.robot.timings}


def stalled_once(frame: int) -> float:
    return 500 if frame == 20 else 1


def test_a_queue_shows_every_frame_that_waited_in_its_latency_from_the_due_time() -> None:
    # t [ms]   200                  700   701   702  ...  755   760
    # due      20  21  22  ...  69  70                75    76
    # worker   [------- 20 --------][ 21 ][ 22 ] ... [ 75 ] .  [ 76 ]
    # 21 is due at 210 and done at 701: 491 ms; each one after it 9 ms less, until 75 (5 ms) has caught up.
    play = Play(64, 1000, stalled_once)
    timings = play.run()
    due_ms = {frame: (t.due_latency_ns or 0) / MS for frame, t in timings.items()}
    assert list(due_ms) == list(range(1000))
    assert due_ms[20] == 500
    assert [due_ms[frame] for frame in range(21, 76)] == [491 - 9 * i for i in range(55)]
    assert sum(200 * MS < (t.due_ns or 0) - SYSTEM_OFFSET_NS <= 700 * MS and due_ms[frame] > 1
               for frame, t in timings.items()) == 50  # fmt: skip
    assert {ms for frame, ms in due_ms.items() if not 20 <= frame <= 75} == {1}
    assert [frame for frame, t in timings.items() if t.stages_ns["infer"] > 1 * MS] == [20]  # the naive figure's view
    counts = play.robot.pipeline.ledger.snapshot()
    assert (counts.received, counts.processed, counts.replaced, counts.residual) == (1000, 1000, 0, 0)
    naive = Distribution.of(t.stages_ns["infer"] for t in timings.values()).summary_ms()
    due = Distribution.of(round(ms * MS) for ms in due_ms.values()).summary_ms()
    assert (naive["p99"], due["p99"]) == (1, 410)  # the eleventh highest: 500, 491, 482 ... 410
    play.robot.print_figures("queue of 64")


def test_where_the_newest_wins_they_appear_as_replaced_with_their_age() -> None:
    # t [ms]   200  210  220  ...  690  700   701
    # in       20   21   22        69   70
    # worker   [---------- 20 ---------][ 70 ]       21 to 69 are replaced, each by the next one, 10 ms later
    play = Play(1, 1000, stalled_once)
    timings = play.run()
    assert [frame for frame in range(1000) if frame not in timings] == list(range(21, 70))
    assert (timings[70].dropped_before, timings[70].dropped_age_ns) == (49, 10 * MS)
    assert {(t.dropped_before, t.dropped_age_ns) for frame, t in timings.items() if frame != 70} == {(0, None)}
    assert {frame: t.due_latency_ns for frame, t in timings.items() if t.due_latency_ns != 1 * MS} == {20: 500 * MS}
    counts = play.robot.pipeline.ledger.snapshot()
    assert (counts.received, counts.processed, counts.replaced, counts.residual) == (1000, 951, 49, 0)
    play.robot.print_figures("newest wins")


def test_what_a_deeper_queue_drops_is_older() -> None:
    # 21 to 62 are replaced, each when the eighth after it comes, 80 ms later; 63 to 70 wait for the end of the stall
    play = Play(8, 100, stalled_once)
    timings = play.run()
    assert [frame for frame in range(100) if frame not in timings] == list(range(21, 63))
    assert (timings[63].dropped_before, timings[63].dropped_age_ns) == (42, 80 * MS)


def test_what_was_replaced_before_a_frame_that_failed_is_said_by_the_next_timing() -> None:
    # 1 and 2 are replaced while 0 is in the engine; 3 fails; 4 is fine and says 2 dropped
    def work_ms(frame: int) -> float:
        if frame == 3:
            raise EngineError("out of memory")
        return 35 if frame == 0 else 1

    play = Play(1, 5, work_ms)
    timings = play.run()
    assert {frame: t.dropped_before for frame, t in timings.items()} == {0: 0, 4: 2}
    assert timings[4].dropped_age_ns == 10 * MS
    assert play.robot.pipeline.ledger.snapshot().failed == 1


@pytest.mark.timing
@pytest.mark.parametrize("queue_size", [64, 1])
def test_the_same_on_the_real_clock_with_a_real_worker(queue_size: int) -> None:
    def infer(frame: int) -> None:
        if frame == 10:
            threading.Event().wait(0.5)

    robot = Robot(queue_size, infer, CLOCKS)
    robot.pipeline.start()
    start_ns = CLOCKS.monotonic_ns()
    for frame in range(80):
        threading.Event().wait(max(0, start_ns + frame * PERIOD_NS - CLOCKS.monotonic_ns()) / 1e9)
        robot.arrive(frame)
    assert robot.pipeline.close()
    robot.print_figures(f"real clock, queue of {queue_size}")
    slow = [t for t in robot.timings if t.stages_ns["infer"] > 400 * MS]
    late = [t for t in robot.timings if (t.due_latency_ns or 0) > 2 * PERIOD_NS]
    counts = robot.pipeline.ledger.snapshot()
    assert len(slow) == 1
    assert counts.residual == 0
    if queue_size == 64:
        assert len(late) >= 45
        assert counts.replaced == 0
    else:
        assert counts.replaced >= 45
        assert sum(t.dropped_before for t in robot.timings) == counts.replaced
        assert max(t.dropped_age_ns or 0 for t in robot.timings) > 9 * MS


def lateness_ms(grid: DueGrid, arrivals_ms: Iterable[float], lost: int | None = 0) -> list[float]:
    """Return by how much each arrival is late [ms]."""
    return [(ms * MS - grid.due(round(ms * MS), lost)) / MS for ms in arrivals_ms]


def test_a_late_message_is_late_and_the_next_one_is_not() -> None:
    assert lateness_ms(DueGrid(100), (0, 10, 27, 30, 40)) == [0, 0, 7, 0, 0]


def test_a_burst_after_a_stall_of_the_source_is_late_from_its_first_to_its_last_message() -> None:
    #                                           due at 20  30  40  50, all come at 55
    assert lateness_ms(DueGrid(100), (0, 10, 55, 55, 55, 55, 60)) == [0, 0, 35, 25, 15, 5, 0]


def test_messages_known_to_be_lost_had_their_place_on_the_grid() -> None:
    grid = DueGrid(100)
    assert lateness_ms(grid, (0, 10)) == [0, 0]
    assert lateness_ms(grid, (43,), lost=2) == [3]
    assert lateness_ms(grid, (50,)) == [0]


def test_where_losses_cannot_be_known_every_whole_period_without_a_message_is_one() -> None:
    assert lateness_ms(DueGrid(100), (0, 10, 43, 50, 200, 210), lost=None) == [0, 0, 3, 0, 0, 0]


@pytest.mark.parametrize("drift", [-0.001, 0.001])
def test_a_drifting_source_is_never_late_by_more_than_its_drift_over_the_window(drift: float) -> None:
    # A source that is 0.1 % slow falls behind by 10 us a message; the earliest of the last 10 s fixes the grid.
    grid = DueGrid(100)
    arrivals_ns = [round(k * PERIOD_NS * (1 + drift)) for k in range(30_000)]
    late_ns = [ns - grid.due(ns) for ns in arrivals_ns]
    assert min(late_ns) == 0
    assert max(late_ns) == (9_990_000 if drift > 0 else 0)  # 999 messages lie in the window
    if drift > 0:  # and it stays so, however long the source runs
        assert set(late_ns[2000:]) == {9_990_000}


def test_a_source_that_does_not_catch_up_has_skipped_its_periods() -> None:
    # 100 Hz from 0 to 90, nothing until 3000, then 100 Hz again: eleven messages are 2.9 s late, and then none is
    late = lateness_ms(DueGrid(100), [*range(0, 100, 10), *range(3000, 3300, 10)])
    assert late == [0] * 10 + [2900] * 11 + [0] * 19


def test_a_backlog_that_is_worked_off_slowly_stays_late_until_it_is() -> None:
    # from 1000 on every 8 ms: 10 ms are due in 8, so that the 900 ms of delay shrink by 2 ms a message
    late = lateness_ms(DueGrid(100), [*range(0, 100, 10), *range(1000, 4000, 8)])
    assert late[10 : 10 + 375] == [900 - 2 * i for i in range(375)]


@pytest.mark.parametrize("silent_ms", [500, 3000, 30_000, 3_600_000])
def test_a_publisher_that_restarts_begins_a_grid_of_its_own(silent_ms: int) -> None:
    grid = DueGrid(100)
    assert lateness_ms(grid, (0, 10, 20)) == [0, 0, 0]
    grid.restart()
    start_ms = 23 + silent_ms
    assert lateness_ms(grid, (start_ms, start_ms + 10, start_ms + 24, start_ms + 30)) == [0, 0, 4, 0]


def test_a_silence_of_over_the_window_begins_a_new_grid_too() -> None:
    assert lateness_ms(DueGrid(100), (0, 10, 20, 12_003, 12_013)) == [0, 0, 0, 0, 0]


def test_the_warm_up_ends_after_three_alike_or_after_twenty() -> None:
    rule = WarmUp()
    assert [rule.mark(ms * MS) for ms in (900, 60, 20, 11, 10, 10, 500)] == [True] * 5 + [False] * 2
    restless = WarmUp()
    assert sum(restless.mark((1 + 9 * (i % 2)) * MS) for i in range(100)) == AT_MOST
    steady = WarmUp()
    assert [steady.mark(10 * MS) for _ in range(5)] == [True, True, True, False, False]
