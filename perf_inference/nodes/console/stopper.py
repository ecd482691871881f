"""Disables every policy at once: its clients are matched beforehand, and nothing that hangs elsewhere is waited for."""

from __future__ import annotations

import os
import threading
import time
from typing import Any

import rclpy
from rclpy.signals import SignalHandlerOptions
from std_srvs.srv import SetBool

from perf_inference.console import calls
from perf_inference.nodes.ros.guarded_executor import GuardedExecutor
from perf_inference.nodes.ros.leaving import leave_with
from perf_inference.printable import printable

_LOOK_S, _ANSWER_S, _SPIN_S = 1.0, 2.0, 0.05


class Stopper:
    """A node of its own, on a thread of its own."""

    def __init__(self, namespace: str = "") -> None:
        """Join the graph, and look for policies once a second."""
        self._namespace = namespace
        self._asked, self._ended = threading.Event(), threading.Event()
        self._said: list[str] = []
        self._clients: dict[str, Any] = {}  # by node
        self._context = rclpy.Context()
        rclpy.init(context=self._context, args=[], signal_handler_options=SignalHandlerOptions.NO)
        self._node = rclpy.create_node(
            f"{calls.OWN}stop_{os.getpid()}", context=self._context, enable_rosout=False, start_parameter_services=False
        )
        self._executor = GuardedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._work, name="stopper", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Disable; returns at once."""
        self._asked.set()

    def said(self) -> str:
        """Return what has come of it, once."""
        said, self._said = self._said, []
        return "; ".join(said)

    def close(self) -> None:
        """Leave the graph; what was asked for is sent first."""
        self._ended.set()
        self._asked.set()
        self._thread.join(_ANSWER_S + 1)
        self._executor.shutdown()
        leave_with(self._node, self._context)

    def _work(self) -> None:
        while not self._ended.is_set():
            asked = self._asked.wait(_LOOK_S)
            if asked and not self._ended.is_set():
                self._asked.clear()
                self._disable()
            self._look()

    def _look(self) -> None:
        """Have a client of each policy there is."""
        call = calls.CALLS["disable"]
        found = {}
        for service, kinds in self._node.get_service_names_and_types():
            node, _, last = service.rpartition("/")
            if last == call.service and call.kind in kinds:
                found[node] = service
        wanted = calls.in_namespace(calls.others(found), self._namespace)
        for node in set(self._clients) - set(wanted):
            self._node.destroy_client(self._clients.pop(node))
        for node in wanted:
            if node not in self._clients:
                self._clients[node] = self._node.create_client(SetBool, found[node])

    def _disable(self) -> None:
        if not self._clients:
            self._look()
        futures = {node: client.call_async(SetBool.Request(data=False)) for node, client in self._clients.items()}
        deadline = time.monotonic() + _ANSWER_S
        while not all(future.done() for future in futures.values()) and time.monotonic() < deadline:
            if self._asked.is_set():  # once more: the others' answers are not waited for
                break
            self._executor.spin_once(timeout_sec=_SPIN_S)
        if not futures:
            self._said.append("nothing to disable: no policy_node offers ~/enable")
        for node, future in futures.items():
            name = printable(node.strip("/"), 100)
            if future.done():
                self._said.append(f"{name}: {printable(future.result().message)}")
            else:
                self._clients[node].remove_pending_request(future)
                self._said.append(f"{name}: disable was sent and is not answered yet; watch the banner")
