"""Of several problems a heartbeat names an engine that failed before an input that was no good."""

from __future__ import annotations

import pytest

from perf_inference.nodes.engine.problems import Problems

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
def test_the_failure_comes_first(failed_s: float, rejected_s: float, named: str) -> None:
    problems = Problems()
    for when_s, outcome, what in sorted([(failed_s, "failed", FAILED), (rejected_s, "rejected", REJECTED)]):
        problems.note(outcome, what, int(when_s * S))
    assert problems.worst(10 * S) == named


def test_of_an_outcome_the_newest_is_named_and_nothing_is_no_problem() -> None:
    problems = Problems()
    assert problems.worst(0) == ""
    problems.note("rejected", "the first", 1 * S)
    problems.note("rejected", "the second", 2 * S)
    assert problems.worst(3 * S) == "rejected: the second"
    problems.note("ignored", "the third", 3 * S)
    assert problems.worst(4 * S) == "ignored: the third"
