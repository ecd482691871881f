"""Whether a node lives, and what it says of itself that nobody else has a rule for."""

from __future__ import annotations

from collections.abc import Sequence

from perf_inference.console.causes.cause import WARN, Cause, shown, word
from perf_inference.console.node import NodeSeen

SILENT_S = 3.0
_RESTART_S, _CRASHES_S = 10.0, 60.0
_GROWS_S, _GROWS_MB = 15.0, 50.0
_LOOP = 2  # restarts within the time that are a loop


def causes(node: NodeSeen, now_s: float) -> list[Cause]:
    """Return what concerns its process, its swaps and its faults."""
    found = []
    silent_s = node.silent_s(now_s)
    if silent_s > SILENT_S:
        found.append(
            Cause(
                "silent",
                100,
                f"{shown(node.name)} is silent for {silent_s:.0f} s: it has ended, hangs, or is not heard here",
                "perf-inference doctor --only transport --only cores",
            )
        )
    restarts = [when for when in node.restarts if now_s - when < _CRASHES_S]
    if len(restarts) >= _LOOP:
        found.append(
            Cause(
                "restarts",
                94,
                f"{shown(node.name)} was started again {len(restarts)} times within a minute: it ends by an error",
                "tail -n 50 runs/*/nodes.log    # or the terminal that started it",
            )
        )
    elif restarts and now_s - restarts[-1] < _RESTART_S:
        found.append(
            Cause(
                "restarted",
                84,
                f"{shown(node.name)} was started again {now_s - restarts[-1]:.0f} s ago",
                "tail -n 50 runs/*/nodes.log    # says why it ended",
            )
        )
    return [*found, *_memory(node), *_swap(node), *_faults(node)]


def _memory(node: NodeSeen) -> list[Cause]:
    """Return that the memory of its process grows, with one and the same engine."""
    first, last = (next(iter(beats), None) for beats in (node.beats, reversed(node.beats)))
    if first is None or last is None or first.said.engine != last.said.engine or node.watched_s(_GROWS_S) < _GROWS_S:
        return []
    had, has = (beat.said.others.get("process_memory_mb") for beat in (first, last))
    if not isinstance(had, int | float) or not isinstance(has, int | float) or has - had < max(_GROWS_MB, 0.2 * had):
        return []
    text = f"{shown(node.name)}: its memory has grown from {had:.0f} to {has:.0f} MB within "
    text += f"{last.heard_s - first.heard_s:.0f} s, with the same model"
    return [Cause("memory_grows", 57, text, "perf-inference stats    # and start it again before it is full")]


def _swap(node: NodeSeen) -> list[Cause]:
    said = node.said
    state = str(said.others.get("engine_state") or "")
    if state.startswith("loading"):
        what = state.partition(";")[0]
        before = state.partition("meanwhile ")[2] or "the engine before"
        text = f"{shown(node.name)} is {shown(what)}: slower until then; {shown(before)}"
        return [Cause("swap", 83, text, "perf-inference nodes    # says when it runs")]
    if node.message.startswith("outputs at "):
        return [
            Cause(
                "precision",
                58,
                f"{shown(node.name)}: {shown(node.message)}",
                f"perf-inference set {word(node.name)} precision fp32",
            )
        ]
    if state.startswith("failed") and "swap failed" in node.message:
        return [
            Cause(
                "swap_failed",
                63,
                f"{shown(node.name)}: swap {shown(state)}",
                "perf-inference console    # M shows what can be loaded, and why not",
            )
        ]
    return []


def _faults(node: NodeSeen) -> list[Cause]:
    found = []
    errors = node.grown(lambda said: said.others.get("callback_errors"), 10.0)
    if errors:
        found.append(
            Cause(
                "callback_errors",
                66,
                f"{shown(node.name)}: {errors} errors in its callbacks within 10 s: {shown(node.message)}",
                "tail -n 50 runs/*/nodes.log    # or the terminal that started it",
                errors,
            )
        )
    bad = node.grown(lambda said: said.others.get("bad_messages"), 10.0)
    if bad:
        found.append(
            Cause(
                "bad_messages",
                64,
                f"{shown(node.name)} cannot use {bad} messages of the last 10 s: {shown(node.message)}",
                "perf-inference doctor --only topics --only qos",
                bad,
            )
        )
    return found


def own_words(node: NodeSeen, found: Sequence[Cause]) -> list[Cause]:
    """Return what the node says of itself, where it warns and no cause was found."""
    newest = node.newest
    if newest is None:
        return [
            Cause(
                "unheard",
                41,
                f"{shown(node.name)}: timings come, and no heartbeat",
                "perf-inference doctor --only topics",
            )
        ]
    if newest.ok or any(cause.rank >= WARN for cause in found):
        return [] if found else [Cause("well", 0, f"{shown(node.name)}: {shown(newest.message)}")]
    return [Cause("own_words", 48, f"{shown(node.name)}: {shown(newest.message)}", "perf-inference doctor")]
