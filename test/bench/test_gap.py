"""`perf-inference bench gap`: an engine that is slow after a pause is found, on a clock of the test."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from perf_inference.bench.gap import ratio_to_none, verdict_of
from perf_inference.bench.gap.measure import GAPS_S, IDLE, WARM, Burst, Cell, Plan, measure
from perf_inference.cli import main
from perf_inference.testing.fakes import FakeClock

GAPS = (0.0, 0.01, 0.1, 1.0)


class Sleepy:
    """Takes 2 ms, and 5 ms after it was left alone for longer than 50 ms."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock, self._ended_ns, self.calls = clock, 0, 0

    def infer(self) -> None:
        idle = self._clock.now_ns - self._ended_ns > 50_000_000
        self._clock.advance(5.0 if idle else 2.0)
        self._ended_ns = self._clock.now_ns
        self.calls += 1


def bursts_of(plan: Plan) -> list[Burst]:
    clock = FakeClock()
    engine = Sleepy(clock)
    return list(measure(engine.infer, plan, 0.02, lambda: clock.now_ns, lambda s: clock.advance(1e3 * s), lambda: 0))


def test_an_engine_that_is_slow_after_a_pause_is_found() -> None:
    plan = Plan.within(GAPS, 20.0, 0.002, warm=True, rounds=10)
    bursts = bursts_of(plan)
    latencies = {cell: {ns for b in bursts if b.cell == cell for ns in b.latencies_ns} for cell in plan.cells}
    assert latencies == {
        Cell(0.0, IDLE): {2_000_000},
        Cell(0.01, IDLE): {2_000_000},
        Cell(0.01, WARM): {2_000_000},
        Cell(0.1, IDLE): {5_000_000},
        Cell(0.1, WARM): {2_000_000},
        Cell(1.0, IDLE): {5_000_000},
        Cell(1.0, WARM): {2_000_000},
    }
    verdict = verdict_of({cell: ratio_to_none(bursts, cell) for cell in plan.cells})
    assert verdict == "slower after a pause of 0.1 s (2.50 times), 1 s (2.50 times); n 10 rounds"
    assert all(gap >= round(1e9 * burst.cell.gap_s) for burst in bursts for gap in burst.gaps_ns)


def test_one_that_is_not_is_not() -> None:
    plan = Plan.within((0.0, 0.01), 20.0, 0.002, warm=False)
    bursts = bursts_of(plan)
    assert verdict_of({cell: ratio_to_none(bursts, cell) for cell in plan.cells}) == (
        "no pause makes the next inference more than 0 % slower (n 40 rounds)"
    )
    few = [burst for burst in bursts if burst.round < 3]
    assert "too few rounds" in verdict_of({cell: ratio_to_none(few, cell) for cell in plan.cells})


@pytest.mark.parametrize("warm", [False, True])
def test_the_defaults_end_within_four_minutes(warm: bool) -> None:
    plan = Plan.within(GAPS_S, 200.0, 0.1, warm)
    assert 100 < plan.expected_s < 240
    assert plan.rounds >= 5


def test_the_real_detector(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {kind: tmp_path / f"gap.{kind}" for kind in ("json", "html", "markdown")}
    flags = [word for kind, path in files.items() for word in (f"--{kind}", str(path))]
    gaps = ["--gaps", "0.001", "--rounds", "2", "--keep-warm", "1", "--device", "cpu"]
    assert main(["bench", "gap", "policy", *gaps, *flags]) == 0
    said = capsys.readouterr().out
    assert "0.001 s, kept warm" in said
    records = [json.loads(line) for line in files["json"].read_text().splitlines()]
    assert {record["series"] for record in records if record["record"] == "samples"} == {
        "0 s", "0.001 s", "0.001 s, kept warm",
    }  # fmt: skip
    assert "<svg" in files["html"].read_text()
    assert main(["compare", str(files["json"]), str(files["json"])]) in (0, 3)
    with pytest.raises(SystemExit) as refused:
        main(["bench", "gap", "policy", "--gaps", "-1"])
    assert refused.value.code == 2
