"""Over DDS the chunk policy reaches its pucks through delays (`make prove PROVE=delays`)."""

from __future__ import annotations

import os

import pytest
from support.delays import DELAYS, PIECE, piece, wilson_lower


def test_the_bound_of_197_of_200() -> None:
    assert wilson_lower(197, 200) >= 0.95 > wilson_lower(196, 200)
    assert wilson_lower(0, 0) == 0.0


@pytest.mark.long
@pytest.mark.parametrize("name", DELAYS)
def test_delays(name: str) -> None:
    pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")
    count = int(os.environ.get("DELAYS_EPISODES", "200")) // PIECE
    pieces = [piece(name, number) for number in range(count)]
    reached, episodes = (sum(column) for column in zip(*pieces, strict=True))
    print(f"{name} ms: reached {reached} of {episodes}, lower bound {wilson_lower(reached, episodes):.3f}")
    assert wilson_lower(reached, episodes) >= 0.95
