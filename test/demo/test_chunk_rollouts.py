"""The embedded chunk policy bridges delays, without ROS and on a clock of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from perf_inference import engines
from perf_inference.cli import main
from perf_inference.demo.arm import Arm, PositionDrive
from perf_inference.demo.chunk_rollouts import MODEL, RANDOM_S, reached
from perf_inference.engines import Engine, Options


@pytest.fixture(scope="module")
def engine() -> Engine:
    return engines.load("chunk_policy", options=Options(threads=1))


@pytest.mark.slow
@pytest.mark.parametrize("delay_s", [(0.0, 0.0), (0.3, 0.3), RANDOM_S], ids=["0", "300 ms", "50 to 500 ms"])
def test_pucks_are_reached_through_delays(engine: Engine, delay_s: tuple[float, float]) -> None:
    count, run = reached(engine, 5, delay_s)
    assert count == 5
    assert run.seams.skipped_from_standstill == 0
    assert run.seams.ratio <= 1.2


def test_a_policy_that_stands_reaches_none(engine: Engine) -> None:
    class Frozen:
        inputs, outputs, info = engine.inputs, engine.outputs, engine.info

        def infer(self, inputs: dict) -> dict:
            return {"action": np.repeat(inputs["joints"][:, None, :2], 24, axis=1)}

    assert reached(Frozen(), 3, (0.0, 0.0))[0] == 0  # type: ignore[arg-type]


def test_a_table_of_both_executions(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    from perf_inference.demo.chunk_rollouts import _table

    _table(engine, 1, ["150"])
    rows = [line.split()[:2] for line in capsys.readouterr().out.splitlines()[2:]]
    assert rows == [["sync", "align"], *(["async", merge] for merge in ("align", "ensemble", "average", "none"))]


def test_the_embedded_chunk_policy_is_small_and_carries_its_contract(capsys: pytest.CaptureFixture[str]) -> None:
    assert MODEL.stat().st_size < 2_000_000
    assert Path(MODEL).with_suffix(".pt").stat().st_size < 2_000_000
    assert main(["check", "--model", "chunk_policy"]) == 0
    assert "chunks of 24 steps at 20 Hz bridge delays of up to 550 ms" in capsys.readouterr().out


def test_a_drive_follows_positions_and_stops_when_nobody_commands() -> None:
    arm = Arm(position_rad=(1.0, 1.5), dead_man_s=0.2)
    drive = PositionDrive(arm)
    drive.goal((1.2, 1.4), (0.0, 0.0), 0.0)
    for k in range(20):
        drive.advance(k * 0.01)
    assert 1.1 < arm.position_rad[0] < 1.2
    for k in range(20, 100):
        drive.advance(k * 0.01)
    assert np.abs(arm.velocity_rad_s).max() < 1e-3
    with pytest.raises(ValueError, match="two finite numbers"):
        drive.goal((np.nan, 0.0), (0.0, 0.0), 1.0)
