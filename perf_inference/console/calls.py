"""What can be asked of a running graph in one word, and the sentences for what may become of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from perf_inference.printable import OUTSIDE, printable

TRIGGER, SET_BOOL = "std_srvs/srv/Trigger", "std_srvs/srv/SetBool"
OWN = "perf_inference_"  # what the names of nodes begin with that only look and ask
_MOST_NAMES = 12


@dataclass(frozen=True)
class Call:
    """A service that a word stands for."""

    service: str  # last part of its name; the rest is the node's
    kind: str  # of its type
    node: str  # that offers it as a rule
    does: str
    data: bool | None = None  # of SetBool
    of_all: bool = False  # where several nodes offer it, all are asked


CALLS = {
    "caption": Call("caption", TRIGGER, "caption_node", "a caption of the newest image"),
    "say": Call("say_again", TRIGGER, "speech_node", "say the last caption again, or TEXT"),
    "enable": Call("enable", SET_BOOL, "policy_node", "let the policy drive", True),
    "disable": Call(
        "enable", SET_BOOL, "policy_node", "the safe action, at once; of every policy there is", False, True
    ),
    "pause": Call("pause", TRIGGER, "recorder_node", "record no topics, timings still"),
    "resume": Call("resume", TRIGGER, "recorder_node", "record topics again"),
    "split": Call("split", TRIGGER, "recorder_node", "begin the next file of topics"),
}
SAY_TOPIC = "say"
NO_SPEECH = "no speech_node runs in this graph: nothing is said; start one, or read the topic caption"


def in_namespace(names: Iterable[str], namespace: str) -> list[str]:
    """Return the full names that lie in a namespace or below it, sorted."""
    inside = f"/{namespace.strip('/')}/" if namespace.strip("/") else "/"
    return sorted({name for name in names if name.startswith(inside)})


def of_node(names: Iterable[str], node: str) -> list[str]:
    """Return those full names that are a node's: by its full name, or the last part of it; empty: all."""
    if not node:
        return list(names)
    if "/" in node.rstrip("/"):
        return [name for name in names if name.strip("/") == node.strip("/")]
    return [name for name in names if name.rpartition("/")[2] == node.strip("/")]


def others(names: Iterable[str]) -> list[str]:
    """Return the nodes that are somebody's: not those that only look and ask, nor hidden ones."""
    last = {name: name.rpartition("/")[2] for name in names}
    return sorted(name for name, end in last.items() if not end.startswith((OWN, "_")))


def no_graph(domain: str, waited_s: float) -> str:
    """Return the sentence where nobody is there."""
    return (
        f"no node was found within {waited_s:g} s on ROS domain {printable(domain, 20)}: start the nodes "
        "(perf-inference run, or demo), or set ROS_DOMAIN_ID to theirs"
    )


def no_service(call: Call, nodes: Sequence[str], node: str = "") -> str:
    """Return the sentence where nobody offers what is asked for; `nodes`: who is there, `node`: who was named."""
    if call.node == "speech_node":
        return NO_SPEECH
    wanted = f"node '{printable(node, OUTSIDE)}'" if node else "node"
    return (
        f"no {wanted} offers ~/{call.service} ({call.does}): start {call.node}, or name the node that has it with "
        f"--node; there are {listed(nodes)}"
    )


def several(call: Call, nodes: Sequence[str]) -> str:
    """Return the sentence where more than one offers it."""
    return f"several nodes offer ~/{call.service}: {listed(nodes)}; name one of them with --node"


def no_answer(who: str, waited_s: float) -> str:
    """Return the sentence where an answer has not come in time."""
    return (
        f"{printable(who, OUTSIDE)} has not answered within {waited_s:g} s: it is busy or hangs, and may still do it; "
        "ask again with a longer --timeout, or look: perf-inference nodes"
    )


def no_node(name: str, nodes: Sequence[str]) -> str:
    """Return the sentence where nobody has this name."""
    near = get_close_matches(name.strip("/"), [node.strip("/") for node in nodes], n=1)
    hint = f"did you mean '{printable(near[0], OUTSIDE)}'?" if near else f"there are {listed(nodes)}"
    return f"no node is called '{printable(name, OUTSIDE)}'; {hint}"


def no_parameter(node: str, name: str, names: Sequence[str]) -> str:
    """Return the sentence where a node has no such parameter."""
    near = get_close_matches(name, names, n=1)
    shown = sorted(names)
    hint = f"did you mean '{printable(near[0], OUTSIDE)}'?" if near else f"it has {listed(shown)}"
    return f"{printable(node, OUTSIDE)} has no parameter '{printable(name, OUTSIDE)}'; {hint}"


def listed(names: Sequence[str]) -> str:
    """Return names as part of a sentence, not too many of them."""
    shown = [printable(name.strip("/"), OUTSIDE) for name in names[:_MOST_NAMES]]
    more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
    return f"{', '.join(shown)}{more}" if shown else "none"
