"""A node of our own that finds other nodes, calls their services and sets their parameters; no call waits for ever."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import rclpy
from rcl_interfaces.srv import DescribeParameters, GetParameters, ListParameters, SetParametersAtomically
from rclpy.duration import Duration
from rclpy.parameter import Parameter, parameter_value_to_python
from rclpy.signals import SignalHandlerOptions
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger

from perf_inference.bringup.search_path import leave_working_directory
from perf_inference.console import calls, values
from perf_inference.console.calls import SET_BOOL, TRIGGER, Call
from perf_inference.errors import CallError, InputError, in_one_line
from perf_inference.nodes.ros.guarded_executor import GuardedExecutor
from perf_inference.nodes.ros.leaving import leave_with
from perf_inference.printable import OUTSIDE, printable

FIND_S, ANSWER_S = 5.0, 30.0  # at most: until somebody is found, and until he has answered
_QUIET_S, _POLL_S, _SAID_S = 0.7, 0.02, 2.0
_TYPES: Mapping[str, Any] = {TRIGGER: Trigger, SET_BOOL: SetBool}
_SETS = "rcl_interfaces/srv/SetParametersAtomically"
_SWAPPED = ("model", "runtime", "precision", "device")


class Peer:
    """Asks others; one thread at a time."""

    def __init__(self, namespace: str = "") -> None:
        """Join the graph; `namespace`: only those in it are found.

        Raises:
            CallError: ROS does not start here.
        """
        leave_working_directory()
        self._namespace = namespace
        self._lock = threading.Lock()
        self._clients: dict[str, Any] = {}
        self._context = rclpy.Context()
        try:
            rclpy.init(context=self._context, args=[], signal_handler_options=SignalHandlerOptions.NO)
            self._node = rclpy.create_node(
                f"{calls.OWN}call_{os.getpid()}", context=self._context, namespace=namespace, enable_rosout=False,
                start_parameter_services=False,
            )  # fmt: skip
        except Exception as error:
            raise CallError(f"ROS does not start here: {in_one_line(error)}") from error
        self._executor = GuardedExecutor(context=self._context)
        self._executor.add_node(self._node)

    def close(self) -> None:
        """Leave the graph."""
        self._executor.shutdown()
        leave_with(self._node, self._context)

    # who is there ----------------------------------------------------------------------------------------------------

    def nodes(self) -> list[str]:
        """Return the full names of the others in the namespace."""
        found = {f"{space.rstrip('/')}/{name}" for name, space in self._node.get_node_names_and_namespaces()}
        # A name comes a while after what its node offers.
        found |= {node for node, _, last in self._all_services() if last == "get_parameters"}
        return calls.in_namespace(calls.others(found), self._namespace)

    def offers(self, call: Call, node: str = "") -> dict[str, str]:
        """Return the services that a word may stand for: node, its service."""
        found = self._services(call.service, call.kind)
        return {name: found[name] for name in calls.of_node(sorted(found), node)}

    def call(self, call: Call, node: str = "", timeout_s: float = ANSWER_S) -> list[tuple[str, bool, str]]:
        """Ask; return who answered, whether it was done, and what was said.

        Raises:
            CallError: nobody is there, nobody offers it, several do, or there was no answer.
        """
        answers: dict[str, tuple[str, bool, str]] = {}

        def look() -> dict[str, str]:
            found = self.offers(call, node)
            for name in found if call.of_all else ():  # each as soon as it is known
                if name not in answers:
                    answers[name] = self._asked(call, name, found[name], timeout_s)
            return found

        found = self._find(look, timeout_s)
        if not found:
            raise CallError(calls.no_service(call, self._somebody(timeout_s), node))
        if len(found) > 1 and not call.of_all:
            raise CallError(calls.several(call, list(found)))
        return [answers.get(name) or self._asked(call, name, found[name], timeout_s) for name in found]

    def _asked(self, call: Call, node: str, service: str, timeout_s: float) -> tuple[str, bool, str]:
        try:
            answer = self._ask(_TYPES[call.kind], service, _request(call), timeout_s, node)
        except CallError as error:
            if not call.of_all:
                raise
            return node.strip("/"), False, str(error)  # the others are asked all the same
        return node.strip("/"), bool(answer.success), printable(answer.message)

    def say(self, text: str, timeout_s: float = ANSWER_S) -> str:
        """Publish a text on `say`.

        Raises:
            CallError: nobody listens there.
        """
        again = calls.CALLS["say"]
        if not self._find(lambda: self.offers(again), timeout_s):  # a recorder listens too
            self._somebody(timeout_s)
            raise CallError(calls.NO_SPEECH)
        publisher = self._node.create_publisher(String, calls.SAY_TOPIC, 10)
        try:
            if not self._until(lambda: publisher.get_subscription_count() > 0, min(FIND_S, timeout_s)):
                raise CallError(calls.no_answer(f"speech_node, on {publisher.topic_name},", min(FIND_S, timeout_s)))
            publisher.publish(String(data=text))
            self._until(lambda: publisher.wait_for_all_acked(Duration()), _SAID_S)
            return f"sent to {publisher.topic_name}"
        finally:
            self._node.destroy_publisher(publisher)

    # parameters ------------------------------------------------------------------------------------------------------

    def node_named(self, name: str, timeout_s: float = ANSWER_S) -> str:
        """Return the full name of the node that is meant.

        Raises:
            CallError: none is, or several are.
        """

        def found() -> list[str]:
            return calls.of_node(sorted(self._services("set_parameters_atomically", _SETS)), name)

        names = self._find(found, timeout_s)
        if not names:
            there = self._somebody(timeout_s)
            if calls.of_node(there, name):
                raise CallError(f"{printable(name, OUTSIDE)} takes no parameters from outside")
            raise CallError(calls.no_node(name, there))
        if len(names) > 1:
            raise CallError(f"several nodes are called '{printable(name, OUTSIDE)}': {calls.listed(names)}; give the "
                            "name with its namespace")  # fmt: skip
        return names[0]

    def set_words(self, node: str, name: str, words: Sequence[str], timeout_s: float = ANSWER_S) -> None:
        """Set a parameter to what words of a command line say; `node` by its full name.

        Raises:
            CallError: it has none of this name, it cannot be this, or the node has refused it.
        """
        kind, read_only = self._type_of(node, name, timeout_s)
        if read_only:
            raise CallError(
                f"parameter '{printable(name, OUTSIDE)}' of {node.strip('/')} is for the start alone: give it in the "
                f"parameters file, or start the node with -p {printable(name, OUTSIDE)}:=VALUE"
            )
        try:
            value = values.parse(words, kind)
        except InputError as error:
            raise CallError(f"parameter '{printable(name, OUTSIDE)}' of {node.strip('/')}: {error}") from error
        self.set(node, {name: value}, timeout_s)

    def set(self, node: str, wanted: Mapping[str, Any], timeout_s: float = ANSWER_S) -> None:
        """Set parameters together; those of an engine are in force after `swapped`.

        Raises:
            CallError: the node has refused them, or has not answered.
        """
        parameters = [Parameter(name, value=value).to_parameter_msg() for name, value in wanted.items()]
        request = SetParametersAtomically.Request(parameters=parameters)
        answer = self._ask(SetParametersAtomically, f"{node}/set_parameters_atomically", request, timeout_s, node)
        if not answer.result.successful:
            named = ", ".join(printable(name, OUTSIDE) for name in wanted)
            if "undeclared" in answer.result.reason:
                hint = "; a policy whose contract takes a text has one" if "task" in wanted else ""
                raise CallError(f"{node.strip('/')} has no parameter {named}{hint}")
            raise CallError(f"{node.strip('/')} refuses {named}: {printable(answer.result.reason)}")

    def swaps(self, node: str, names: Iterable[str]) -> bool:
        """Return whether setting these makes an engine of the node change."""
        return bool(set(names) & set(_SWAPPED)) and node in self._services("swap_wait", TRIGGER)

    def swapped(self, node: str, timeout_s: float) -> tuple[bool, str]:
        """Wait until what was wanted of an engine runs or has failed; return which, and what the node says.

        Raises:
            CallError: it takes longer.
        """
        answer = self._ask(Trigger, f"{node}/swap_wait", Trigger.Request(), timeout_s, node)
        return bool(answer.success), printable(answer.message)

    def values_of(self, node: str, names: Sequence[str], timeout_s: float = ANSWER_S) -> dict[str, Any]:
        """Return the values of parameters that are in force; None: there is none of this name.

        Raises:
            CallError: no answer.
        """
        found = {}
        for name in names:  # one by one: one that has no value would leave the others out
            request = GetParameters.Request(names=[name])
            answer = self._ask(GetParameters, f"{node}/get_parameters", request, timeout_s, node).values
            plain = parameter_value_to_python(answer[0]) if answer else None
            found[name] = plain if plain is None or isinstance(plain, str | int | float) else list(plain)
        return found

    def _type_of(self, node: str, name: str, timeout_s: float) -> tuple[int, bool]:
        request = DescribeParameters.Request(names=[name])
        answer = self._ask(DescribeParameters, f"{node}/describe_parameters", request, timeout_s, node)
        found = answer.descriptors[0] if answer.descriptors else None
        if found is None or found.type == values.NOT_SET:
            listed = self._ask(ListParameters, f"{node}/list_parameters", ListParameters.Request(), timeout_s, node)
            raise CallError(calls.no_parameter(node.strip("/"), name, list(listed.result.names)))
        return int(found.type), bool(found.read_only)

    # machinery -------------------------------------------------------------------------------------------------------

    def _services(self, name: str, kind: str) -> dict[str, str]:
        """Return node and service, of the services that end in this name and have this type."""
        found = {node: f"{node}/{last}" for node, kinds, last in self._all_services() if last == name and kind in kinds}
        inside = calls.in_namespace(calls.others(found), self._namespace)
        return {node: found[node] for node in inside}

    def _all_services(self) -> Iterator[tuple[str, Sequence[str], str]]:
        """Yield the node, the types and the last part of the name of each service; the node as its name says."""
        for service, kinds in self._node.get_service_names_and_types():
            node, _, last = service.rpartition("/")
            if node:
                yield node, kinds, last

    def _find(self, look: Callable[[], Any], timeout_s: float) -> Any:
        """Return what `look` finds, once it finds something and for a moment nothing more."""
        deadline = time.monotonic() + min(FIND_S, timeout_s)
        found, quiet_s = look(), time.monotonic()
        while (now_s := time.monotonic()) < deadline and (not found or now_s - quiet_s < _QUIET_S):
            time.sleep(_POLL_S)
            if (again := look()) != found:
                found, quiet_s = again, time.monotonic()
        return found

    def _somebody(self, timeout_s: float) -> list[str]:
        """Return who is there; raise CallError where nobody is."""
        if there := self._find(self.nodes, min(_SAID_S, timeout_s)):
            return list(there)
        raise CallError(calls.no_graph(os.environ.get("ROS_DOMAIN_ID", "0"), min(FIND_S, timeout_s)))

    def _ask(self, kind: Any, service: str, request: Any, timeout_s: float, who: str) -> Any:
        with self._lock:
            client = self._clients.get(service)
            if client is None:
                client = self._clients[service] = self._node.create_client(kind, service)
            deadline = time.monotonic() + timeout_s
            if not self._spin(client.service_is_ready, deadline):
                raise CallError(calls.no_answer(who.strip("/"), timeout_s))
            future = client.call_async(request)
            if not self._spin(future.done, deadline):
                client.remove_pending_request(future)
                raise CallError(calls.no_answer(who.strip("/"), timeout_s))
            return future.result()

    def _spin(self, done: Callable[[], bool], deadline: float) -> bool:
        while not done():
            if time.monotonic() > deadline:
                return False
            self._executor.spin_once(timeout_sec=_POLL_S)
        return True

    def _until(self, done: Callable[[], Any], timeout_s: float) -> bool:
        return self._spin(lambda: bool(done()), time.monotonic() + timeout_s)


def _request(call: Call) -> Any:
    return Trigger.Request() if call.data is None else SetBool.Request(data=call.data)
