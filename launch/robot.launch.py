"""Start the nodes of a parameters file: a process per node, or all in one with container:=true.

ros2 launch perf_inference robot.launch.py sim:=true
ros2 launch perf_inference robot.launch.py config:=/path/to/robot.yaml namespace:=robot1 record:=false tuning:=false
"""

from __future__ import annotations

import atexit
import os
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from launch.actions import (
    DeclareLaunchArgument,
    LogInfo,
    OpaqueFunction,
    RegisterEventHandler,
    SetEnvironmentVariable,
    TimerAction,
)
from launch.event_handlers import OnProcessExit, OnShutdown
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from launch import LaunchContext, LaunchDescription
from perf_inference.bringup import child_process, shared_memory, tuning
from perf_inference.bringup.process_groups import ProcessSpec, processes
from perf_inference.bringup.robot import Graph, NodeSpec, default_config, read_graph
from perf_inference.bringup.start import choose, note
from perf_inference.bringup.supervisor import BACK_OFF_S, HEALTHY_S
from perf_inference.commands import start_record
from perf_inference.errors import EX_CONFIG, ConfigError

_BOOLEAN = ["true", "false"]
_REFUSED: list[Graph] = []


def generate_launch_description() -> LaunchDescription:
    """Return the arguments, and what follows from them."""
    return LaunchDescription(
        [
            DeclareLaunchArgument("config", default_value="", description="ROS parameters file; empty: robot.yaml"),
            DeclareLaunchArgument("sim", default_value="false", choices=_BOOLEAN,
                                  description="start the simulated robot too, and enable the policy"),
            DeclareLaunchArgument("container", default_value="false", choices=_BOOLEAN,
                                  description="all nodes in one process"),
            DeclareLaunchArgument("record", default_value="true", choices=_BOOLEAN, description="start the recorder"),
            DeclareLaunchArgument("tuning", default_value="true", choices=_BOOLEAN,
                                  description="set transport and allocator for images, where you have not"),
            DeclareLaunchArgument("namespace", default_value="", description="namespace of all nodes"),
            DeclareLaunchArgument("verbose", default_value="false", choices=_BOOLEAN,
                                  description="say what transport and allocator are set to"),
            OpaqueFunction(function=_start),
        ]
    )  # fmt: skip


def _start(context: LaunchContext) -> list[Any]:
    def argument(name: str) -> str:
        return str(LaunchConfiguration(name).perform(context))

    config = Path(argument("config")) if argument("config") else default_config()
    try:
        graph = read_graph(
            config, argument("sim") == "true", argument("record") == "true", namespace=argument("namespace")
        )
    except ConfigError as error:
        raise RuntimeError(f"bad configuration: {error}") from error
    container = argument("container") == "true"
    try:
        started = processes(graph, container)
    except ConfigError as error:
        start_record.remove_refused(graph.run_directories)
        raise RuntimeError(f"bad configuration: {error}") from error
    _keep(graph, argument)
    actions, chosen = _prepared(graph, started, argument("tuning") == "true", argument("verbose") == "true")
    for process in started:
        more = chosen.of(process.images, process.name)
        if process.shared:
            make = partial(_container, process.graph, more)
        else:
            make = partial(_node, graph, process.nodes[0], more)
        actions += Restarted(graph, process.name, make).actions()
    if graph.run_directories:
        where = OpaqueFunction(function=partial(_say_where, graph))
        actions.append(RegisterEventHandler(OnShutdown(on_shutdown=[where])))
    return actions


def _keep(graph: Graph, argument: Callable[[str], str]) -> None:
    given = {name: argument(name) == "true" for name in ("sim", "container", "record", "tuning")}
    digests = start_record.keep(graph, Namespace(namespace=argument("namespace"), **given), "ros2 launch")
    atexit.register(digests.stop)


def _say_where(graph: Graph, context: LaunchContext) -> list[Any]:
    return [] if graph in _REFUSED else [LogInfo(msg=f"recorded in {one}") for one in graph.run_directories]


def _prepared(
    graph: Graph, started: Sequence[ProcessSpec], wanted: bool, verbose: bool
) -> tuple[list[Any], tuning.Tuning]:
    """Return what is said of transport and allocator, and what the processes get."""
    values = dict(os.environ)
    if not wanted:
        tuning.switch_off(values)
    removed = "" if tuning.is_off(values) else shared_memory.describe(shared_memory.clean())
    chosen = choose(values, started)
    said = chosen.line if verbose or chosen.short == chosen.line else f"{chosen.short} (verbose:=true says what)"
    actions: list[Any] = [LogInfo(msg=line) for line in (graph.others_line, removed, said) if line]
    for directory in graph.run_directories:
        note(directory, chosen.line)
    if not wanted:
        actions.append(SetEnvironmentVariable(tuning.TUNING, values[tuning.TUNING]))
    return actions, chosen


def _node(graph: Graph, node: NodeSpec, own: dict[str, str], again: dict[str, str]) -> Node:
    return Node(
        package="perf_inference",
        executable=node.executable,
        name=node.name,
        namespace=node.namespace,
        parameters=[str(file) for file in graph.files],
        remappings=[tuple(remapping.split(":=", 1)) for remapping in node.remappings],
        ros_arguments=["--enclave", node.enclave] if node.enclave else [],
        additional_env={**child_process.named(), **own, **again},
        output="screen",
        emulate_tty=True,
    )


def _container(graph: Graph, own: dict[str, str], again: dict[str, str]) -> Node:
    arguments = graph.container_arguments()
    named = [f"{node.executable}={node.name}" for node in graph.nodes]
    return Node(
        package="perf_inference",
        executable="container",
        arguments=named,
        ros_arguments=[a for a in arguments if a != "--ros-args"],
        additional_env={**child_process.named(), **own, **again},
        output="screen",
        emulate_tty=True,
    )


class Restarted:
    """A process that is started again with back-off, three times at most; a wrong configuration ends the launch."""

    def __init__(self, graph: Graph, name: str, make: Callable[[dict[str, str]], Node]) -> None:
        self._graph, self._name, self._make = graph, name, make
        self._restarts, self._started_s = 0, 0.0

    def actions(self) -> list[Any]:
        """Return the process and what watches it."""
        self._started_s = time.monotonic()
        process = self._make({tuning.RESTARTED: "1"} if self._restarts else {})
        return [RegisterEventHandler(OnProcessExit(target_action=process, on_exit=self._on_exit)), process]

    def _on_exit(self, event: Any, context: LaunchContext) -> list[Any]:
        if context.is_shutdown or event.returncode == 0:
            return []
        if event.returncode == EX_CONFIG:
            if not self._restarts and self._graph not in _REFUSED:
                _REFUSED.append(self._graph)
                atexit.register(start_record.remove_refused, self._graph.run_directories)  # all have ended then
            raise RuntimeError(f"the configuration of {self._name} is wrong, see its message above")
        if time.monotonic() - self._started_s > HEALTHY_S:
            self._restarts = 0
        if self._restarts >= len(BACK_OFF_S):
            return [LogInfo(msg=f"{self._name} was given up after {self._restarts} restarts; the others go on")]
        delay_s = BACK_OFF_S[self._restarts]
        self._restarts += 1
        told = f"{self._name} ended with status {event.returncode}; restart {self._restarts} in {delay_s:g} s"
        return [LogInfo(msg=told), TimerAction(period=delay_s, actions=[OpaqueFunction(function=self._again)])]

    def _again(self, context: LaunchContext) -> list[Any]:
        return self.actions()
