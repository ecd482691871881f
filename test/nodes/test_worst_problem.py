"""Of several problems a heartbeat names an engine that failed before an input that was no good."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy")

from perf_inference.nodes.engine.inference import worst_of

S = 1_000_000_000
FAILED, REJECTED = "the server cannot be reached", "no image has come"


@pytest.mark.parametrize(
    ("failed_s", "rejected_s", "named"),
    [
        (10.0, 9.0, f"failed: {FAILED}"),
        (9.0, 10.0, f"failed: {FAILED}"),
        (4.0, 10.0, f"rejected: {REJECTED}"),
        (4.0, 4.0, ""),
    ],
)
@pytest.mark.parametrize("rejected_first", [True, False])
def test_the_failure_comes_first(failed_s: float, rejected_s: float, named: str, rejected_first: bool) -> None:
    found = [("failed", (int(failed_s * S), FAILED)), ("rejected", (int(rejected_s * S), REJECTED))]
    assert worst_of(dict(reversed(found) if rejected_first else found), 10 * S) == named


def test_nothing_is_no_problem() -> None:
    assert worst_of({}, 0) == ""
