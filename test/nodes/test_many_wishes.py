"""A peer that wishes for models without end holds up nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support.processes import Process

pytest.importorskip("rclpy")

from rcl_interfaces.msg import Parameter, ParameterValue
from rcl_interfaces.srv import SetParameters
from std_srvs.srv import Trigger
from support.processes import Ros

from perf_inference.errors import ConfigError
from perf_inference.measure.clocks import Clocks
from perf_inference.nodes.ros import request_bounds
from perf_inference.nodes.ros.request_bounds import Allowance


@pytest.mark.thorough
def test_a_flood_of_wishes_in_one_request_is_looked_at_in_part(ros: Ros, start_node: Callable[..., Process]) -> None:
    node = start_node("caption_node", "-p", "rate:=0.0")
    node.wait_for("describes")
    wishes = [
        Parameter(name="model", value=ParameterValue(type=4, string_value=("pruned", "captioner")[number % 2]))
        for number in range(400)
    ]
    request = SetParameters.Request(parameters=wishes)
    results = ros.call(SetParameters, "caption_node/set_parameters", request, 120.0).results
    refused = [result.reason for result in results if not result.successful]
    assert len(results) == len(wishes)
    assert len(refused) > len(wishes) / 8
    assert set(refused) == {"50 times within a second is too often; set it again later"}
    assert ros.call(Trigger, "caption_node/swap_wait", Trigger.Request(), 60.0).message
    assert node.alive, node.output()


def test_an_allowance_comes_back_with_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0]
    monkeypatch.setattr(request_bounds, "CLOCKS", Clocks(monotonic_ns=lambda: now[0]))
    allowance = Allowance(3)
    for now[0] in (0, 10, 20):
        allowance.check()
    with pytest.raises(ConfigError, match="3 times within a second"):
        allowance.check()
    now[0] = 1_000_000_000
    allowance.check()
    with pytest.raises(ConfigError):
        allowance.check()
