"""perf-inference demo: the simulated robot, a live view, and a summary that can be checked."""

from __future__ import annotations

import argparse
import math
import os
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perf_inference.bringup.robot import Graph, default_config, read_graph
from perf_inference.bringup.start import (
    NODES_LOG,
    MemoryWatch,
    child_environment,
    choose_domain,
    commands,
    prepare,
    say,
    tidy,
)
from perf_inference.bringup.stop_signal import StopFlag, Stopped
from perf_inference.bringup.supervisor import Supervisor
from perf_inference.commands.demo.view import LiveView, PlainView, View, show_summary
from perf_inference.commands.run import NO_TUNING, add_set_argument, add_verbose_argument
from perf_inference.errors import EX_CONFIG
from perf_inference.files.private import open_own, own_folder
from perf_inference.printable import printable, without_colours
from perf_inference.quantities import whole

if TYPE_CHECKING:
    from perf_inference.nodes.monitor.observer import Observer

_FIRST_ACTION_S = 30.0
_ALONE_S = 0.7  # processes are started, before the demo's own node is made: none is meanwhile

NEEDS_ROS = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("--duration", type=seconds, default=60.0, help="seconds from the first action on (default: 60)")
    parser.add_argument(
        "--episodes", type=whole, default=0, help="end after so many episodes of 5 s, instead of a duration"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the episodes (default: 0)")
    parser.add_argument("--zero-actions", action="store_true", help="leave the policy disabled: zero actions only")
    parser.add_argument("--policy", default="policy", metavar="NAME",
                        help="an embedded policy: policy, chunk_policy; or a model file (default: policy)")  # fmt: skip
    parser.add_argument("--delay-ms", type=_delay, default=None, metavar="150 or 50..500",
                        help="added to each of its inferences, to see what a slow model does")  # fmt: skip
    parser.add_argument("--frozen", choices=("none", "camera", "joint_states"), default="none",
                        help="let the robot repeat its first image or joint state: the policy must fail")  # fmt: skip
    parser.add_argument("--no-tuning", dest="tuning", action="store_false", help=NO_TUNING)
    parser.add_argument("--config", type=Path, help="ROS parameters file (default: config/robot.yaml of the package)")
    add_set_argument(parser)
    add_verbose_argument(parser)


def seconds(text: str) -> float:
    """Return a duration [s]; raise ArgumentTypeError unless it is a number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number of seconds above 0, got '{text}'")
    return value


def run(options: argparse.Namespace) -> int:
    """Run the demo; status 0, also after Ctrl-C or SIGTERM; 78 for a wrong configuration, 1 if a node was given up."""
    from perf_inference.commands import start_record

    stop = StopFlag()
    print("perf-inference demo: starting the simulated robot; Ctrl-C ends it at any time", flush=True)
    view = LiveView() if sys.stdout.isatty() else PlainView()
    overrides = overrides_of(options)
    graph = graph_of(options, overrides)
    if graph.others_line:
        say(graph.others_line)
    _choose_domain()
    digests = start_record.keep(graph, as_run(options, graph, overrides), "demo")
    own = prepare(graph, container=False, wanted=options.tuning, verbose=options.verbose)
    log = NodesLog(graph.run_directory, view.note)
    supervisor = Supervisor(commands(graph, container=False), child_environment(), view.note, log.write, own)
    observer, ended = None, ""
    supervisor.start()
    alone_until_s = time.monotonic() + _ALONE_S
    while supervisor.starting and not stop and time.monotonic() < alone_until_s:
        supervisor.poll()
        time.sleep(0.01)
    try:
        stop.at_once = True
        observer = None if stop else _observe(view.note)  # rclpy loads while the processes start
    except Stopped:
        pass
    except Exception:  # a signal that comes in the import of a C extension turns up as what that makes of it
        if not stop:
            raise
    finally:
        stop.at_once = False
    with view:
        if observer is not None:
            ended = _watch(options, stop, supervisor, observer, view)
        misconfigured = supervisor.misconfigured
        supervisor.stop(meanwhile=lambda: observer.spin(0.01) if observer else time.sleep(0.01))
    say(ended or f"{stop.name}: stopped during the start; summary: no inference yet")
    for fate in supervisor.fates(again=False):
        say(fate)
    digests.stop()
    if observer is not None:
        observer.spin(0.02)
        if not supervisor.refused:
            show_summary(graph.run_directory, observer)
        observer.close()
    log.close()
    if supervisor.refused:
        start_record.remove_refused(graph.run_directories)
    tidy()
    graph.close()
    if misconfigured:
        return EX_CONFIG
    went_well = observer is not None and acted(observer) and not supervisor.given_up
    return 0 if stop or went_well else 1


def acted(observer: Observer) -> bool:
    """Return whether an action has reached the robot."""
    return observer.episode is not None and observer.episode.state != "waiting"


def _observe(note: Callable[[str], None]) -> Observer:
    from perf_inference.nodes.monitor.observer import Observer

    return Observer(warn=note)


def _watch(options: argparse.Namespace, stop: StopFlag, supervisor: Supervisor, observer: Observer, view: View) -> str:
    """Show what happens until it is over; return why it is."""
    started_s, first_s = time.monotonic(), None
    memory = MemoryWatch(supervisor, view.note)
    while True:
        supervisor.poll()
        memory.look()
        observer.spin(0.05)
        episode, now_s = observer.episode, time.monotonic()
        if first_s is None and acted(observer):
            first_s = now_s
        view.show(observer, None if first_s is None else now_s - first_s, options.duration, options.episodes)
        if stop:
            return f"{stop.name}: stopped"
        if supervisor.misconfigured:
            return "stopped: the configuration is wrong"
        if episode is not None and episode.state == "finished" and 0 < options.episodes <= episode.finished:
            return f"{options.episodes} episodes are over"
        if first_s is not None and not options.episodes and now_s - first_s >= options.duration:
            return f"{options.duration:g} s are over"
        if first_s is None and now_s - started_s > _FIRST_ACTION_S:
            return f"no action came within {_FIRST_ACTION_S:g} s of the start; see the messages above"


def overrides_of(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Return what the demo sets over the file, by executable."""
    simulation: dict[str, Any] = {"seed": options.seed, "episodes": options.episodes, "frozen": options.frozen}
    policy: dict[str, Any] = {"enabled": not options.zero_actions}
    if options.policy != "policy":
        policy["model"] = options.policy
        simulation["action_message"] = _message_of(options.policy)
    if options.delay_ms is not None:
        policy["added_delay_ms"] = options.delay_ms
    return {"sim_robot_node": simulation, "policy_node": policy}


def graph_of(options: argparse.Namespace, overrides: dict[str, dict[str, Any]]) -> Graph:
    """Return the demo's nodes, with these parameters over the file's; its run's directory is made."""
    return read_graph(
        options.config or default_config(),
        sim=True,
        session="demo",
        overrides=overrides,
        assignments=options.assignments,
    )


def as_run(options: argparse.Namespace, graph: Graph, overrides: dict[str, dict[str, Any]]) -> argparse.Namespace:
    """Return the options of `perf-inference run` that start the same."""
    from perf_inference.commands.start_record import set_by

    named = [f"{node.name}.session={node.parameters['session']}"
             for node in graph.nodes if node.executable == "recorder_node"]  # fmt: skip
    assignments = [*set_by(graph, overrides), *named, *options.assignments]
    return argparse.Namespace(sim=True, tuning=options.tuning, assignments=assignments)


def _message_of(policy: str) -> str:
    """Return which message the robot is to be driven by: what the policy's contract says, else velocities."""
    from perf_inference.model_build.plan import metadata_of  # nothing of ROS before its transport is chosen
    from perf_inference.tasks.policy.contract.parse import contract_of_metadata

    contract = contract_of_metadata(metadata_of(policy), policy)
    trajectories = contract is not None and contract.main[0].message == "JointTrajectory"
    return "joint_trajectory" if trajectories else "multi_array"


def _delay(text: str) -> list[float]:
    least, dots, most = text.partition("..")
    try:
        delays = [float(least), float(most)] if dots else [float(least)]
    except ValueError:
        delays = [-1.0]
    if not 0 <= delays[0] <= delays[-1]:
        raise argparse.ArgumentTypeError(f"must be milliseconds like 150 or 50..500, got '{text}'")
    return delays


def _choose_domain() -> None:
    choose_domain()
    domain = os.environ["ROS_DOMAIN_ID"]
    say(f"a second terminal looks in after: export ROS_DOMAIN_ID={domain}")
    say(f"or in a browser: ROS_DOMAIN_ID={domain} {_typed()} view")


def _typed() -> str:
    """Return how this command was called, to be typed again."""
    called = Path(sys.argv[0])
    return shlex.quote(sys.argv[0]) if called.name == "perf-inference" else "perf-inference"


class NodesLog:
    """All that the nodes print goes to nodes.log in the run's directory; warnings, errors and actions to the screen."""

    _MARKS = ("[WARN]", "[ERROR]", "[FATAL]", "[ACTION", "Traceback", "Error")

    def __init__(self, directory: Path | None, shown: Callable[[str], None]) -> None:
        self._shown = shown
        self._file = None
        if directory is not None:
            descriptor = open_own(own_folder(directory) / NODES_LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            self._file = open(descriptor, "a", encoding="utf-8", buffering=1)  # noqa: SIM115

    def write(self, name: str, line: str) -> None:
        line = printable(without_colours(line))
        if self._file is not None and not self._file.closed:
            self._file.write(f"{name}: {line}\n")
        if any(mark in line for mark in self._MARKS):
            self._shown(line if line.startswith("[") else f"{name}: {line}")

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
