"""Whether a policy drives: the gate's word, where it has a process of its own, and the policy's elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from perf_inference.console.causes.policy import UNTOLD, state_of
from perf_inference.console.node import NodeSeen
from perf_inference.console.picture import Banner

GATE = "_gate"
_SILENT_S = 1.6  # three heartbeats
_ORDER = ("DRIVING", "UNKNOWN", "SAFE")  # of several policies the first is told


def banner_of(nodes: Mapping[str, NodeSeen], now_s: float) -> Banner:
    """Return the banner: of several policies one that drives comes first, then one that is not heard."""
    policies = {name: state for name, node in nodes.items() if (state := state_of(node)) is not None}
    banners = [_of(name, policies, nodes, now_s) for name in policies if not name.endswith(GATE)]
    banners += [
        _of(name, policies, nodes, now_s)
        for name in policies
        if name.endswith(GATE) and name.removesuffix(GATE) not in policies
    ]
    return min(banners, key=_rank, default=Banner("NO POLICY", "no policy_node is heard", ""))


def _rank(banner: Banner) -> tuple[int, bool, str]:
    return _ORDER.index(banner.state), banner.cause == "disabled", banner.node


def _of(name: str, policies: Mapping[str, str], nodes: Mapping[str, NodeSeen], now_s: float) -> Banner:
    """Return the banner of one policy: what the gate says, who sends the actions, is what counts."""
    says = [one for one in (name + GATE, name) if one in policies]
    fresh = [one for one in says if nodes[one].silent_s(now_s) < _SILENT_S]
    if not fresh:
        silent_s = min(nodes[one].silent_s(now_s) for one in says)
        return Banner("UNKNOWN", f"{name} is silent for {silent_s:.0f} s; it said before: {policies[says[0]]}", name)
    state = policies[fresh[0]]
    if state.startswith(UNTOLD):
        return Banner("UNKNOWN", state, name)
    return Banner("DRIVING", "", name) if state == "driving" else Banner("SAFE", state, name)


def drivers(nodes: Iterable[NodeSeen]) -> list[str]:
    """Return the policies that say that they drive."""
    return [node.name for node in nodes if state_of(node) == "driving"]
