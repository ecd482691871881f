"""A real graph, as the console asks of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from perf_inference.console import values as words
from perf_inference.console.calls import CALLS
from perf_inference.console.graph import Offered
from perf_inference.console.picture import Picture
from perf_inference.console.watch import Watch
from perf_inference.errors import CallError
from perf_inference.nodes.console.listener import Listener
from perf_inference.nodes.console.peer import Peer
from perf_inference.nodes.console.stopper import Stopper

_ANSWER_S, _SWAP_S = 30.0, 180.0
_NAMES = ("model", "allowed_models", "precision", "runtime", "device")


class LiveGraph:
    """Listens, asks and stops, each by a node of its own: what hangs in one holds up no other."""

    def __init__(self, namespace: str = "", end_stack: Callable[[], str] = lambda: "") -> None:
        """Join the graph.

        Raises:
            CallError: ROS does not start here.
        """
        self._listener = Listener(namespace)
        self._stopper = Stopper(namespace)
        self._namespace, self._end_stack = namespace, end_stack

    def look(self) -> Picture:
        """See `Graph.look`."""
        return self._listener.look()

    def is_whole(self) -> bool:
        """See `Listener.is_whole`."""
        return self._listener.is_whole()

    def note(self, text: str) -> None:
        """See `Graph.note`."""
        self._listener.note(text)

    def with_watch(self, work: Callable[[Watch], Any]) -> Any:
        """See `Graph.with_watch`."""
        return self._listener.with_watch(work)

    def stop(self) -> None:
        """See `Graph.stop`."""
        self._stopper.stop()

    def stopped(self) -> str:
        """See `Graph.stopped`."""
        return self._stopper.said()

    def call(self, word: str) -> str:
        """See `Graph.call`."""
        peer = Peer(self._namespace)
        try:
            answers = peer.call(CALLS[word], timeout_s=_ANSWER_S)
        finally:
            peer.close()
        told = "; ".join(message if len(answers) == 1 else f"{node}: {message}" for node, _, message in answers)
        if not all(done for _, done, _ in answers):
            raise CallError(told)
        return told

    def set(self, node: str, values: Mapping[str, Any]) -> str:
        """See `Graph.set`."""
        peer = Peer(self._namespace)
        try:
            name = peer.node_named(f"/{node.strip('/')}")
            peer.set(name, values, _ANSWER_S)
            if peer.swaps(name, values):
                done, said = peer.swapped(name, _SWAP_S)
                if not done:
                    raise CallError(said)
                return said
            in_force = peer.values_of(name, list(values))
        finally:
            peer.close()
        return f"{node}: " + ", ".join(f"{key} is {words.text(value)}" for key, value in in_force.items())

    def offered(self, node: str) -> Offered:
        """See `Graph.offered`."""
        peer = Peer(self._namespace)
        try:
            found = peer.values_of(peer.node_named(f"/{node.strip('/')}"), _NAMES, 5.0)
        finally:
            peer.close()
        listed = tuple(entry for entry in found["allowed_models"] or () if entry)
        texts = {name: str(found[name] or "auto") for name in ("precision", "runtime", "device")}
        return Offered(str(found["model"] or ""), listed, **texts)

    def end_stack(self) -> str:
        """See `Graph.end_stack`."""
        return self._end_stack()

    def close(self) -> None:
        """Leave the graph."""
        self._stopper.close()
        self._listener.close()
