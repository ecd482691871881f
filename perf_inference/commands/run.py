"""perf-inference run: the nodes of a ROS parameters file, kept running."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from perf_inference.bringup.robot import default_config, read_graph
from perf_inference.bringup.start import MemoryWatch, child_environment, commands, prepare, say, tidy
from perf_inference.bringup.stop_signal import StopFlag
from perf_inference.bringup.supervisor import Supervisor
from perf_inference.errors import EX_CONFIG, ConfigError

NEEDS_ROS = True

NO_TUNING = "leave transport and allocator as they are (as does PERF_INFERENCE_TUNING=off)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument(
        "--like", type=Path, metavar="RUN", help="start what the run of this directory was, with its configuration"
    )
    parser.add_argument("--config", type=Path, help="ROS parameters file (default: config/robot.yaml of the package)")
    parser.add_argument(
        "--checkpoint", metavar="FILE", help="let policy_node run this model: a checkpoint or another file"
    )
    parser.add_argument(
        "--model-type",
        choices=("regression", "chunk"),
        help="of the checkpoint: one action at a time, or chunks of them",
    )
    parser.add_argument("--namespace", default="", help="namespace of all nodes")
    parser.add_argument("--sim", action="store_true", help="start the simulated robot too, and enable the policy")
    parser.add_argument("--container", action="store_true", help="all nodes in one process")
    parser.add_argument("--no-tuning", dest="tuning", action="store_false", help=NO_TUNING)
    parser.add_argument("--no-record", dest="record", action="store_false", help="leave the recorder out")
    add_set_argument(parser)
    add_verbose_argument(parser)


def add_verbose_argument(parser: argparse.ArgumentParser) -> None:
    """Add -v, which the demo has too."""
    parser.add_argument("-v", "--verbose", action="store_true", help="say what transport and allocator are set to")


def add_set_argument(parser: argparse.ArgumentParser) -> None:
    """Add --set, which the demo has too."""
    parser.add_argument("--set", action="append", default=[], metavar="NODE.PARAMETER=VALUE", dest="assignments",
                        help="a parameter over the file's, again and again: policy_node.runtime=torch")  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Start the nodes; end with Ctrl-C or SIGTERM (status 0) or when none is left (1; wrong configuration: 78)."""
    from perf_inference.commands import start_record

    with tempfile.TemporaryDirectory(prefix="perf_inference_") as folder:
        if options.like is not None:
            for line in start_record.differences(options):
                say(f"since {options.like}: {line}")
            options = start_record.restored(options, Path(folder))
        return _run(options)


def _run(options: argparse.Namespace) -> int:
    from perf_inference.commands import start_record

    stop = StopFlag()
    graph = read_graph(
        options.config or default_config(), options.sim, options.record, overrides=_of_checkpoint(options),
        assignments=options.assignments, namespace=options.namespace,
    )  # fmt: skip
    say(f"{len(graph.nodes)} nodes from {graph.files[0]}: {', '.join(node.label for node in graph.nodes)}")
    if graph.others_line:
        say(graph.others_line)
    try:
        to_start = commands(graph, options.container)
    except ConfigError:
        start_record.remove_refused(graph.run_directories)
        raise
    digests = start_record.keep(graph, options)
    own = prepare(graph, options.container, options.tuning, options.verbose)
    supervisor = Supervisor(to_start, child_environment(), say, own=own)
    supervisor.start()
    memory = MemoryWatch(supervisor, say)
    while not stop and supervisor.running and not supervisor.misconfigured:
        supervisor.poll()
        memory.look()
        time.sleep(0.05)
    if stop:
        say(f"{stop.name}: stopping")
    misconfigured = supervisor.misconfigured
    supervisor.stop()
    tidy()
    graph.close()
    for fate in supervisor.fates(again=False):
        say(fate)
    digests.stop()
    if supervisor.refused:
        start_record.remove_refused(graph.run_directories)
    for directory in graph.run_directories:
        if directory.is_dir():
            say(f"recorded in {directory}")
    if misconfigured:
        return EX_CONFIG
    return 0 if stop else 1


def _of_checkpoint(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Return the parameters of a policy that runs this file, enabled where the robot is simulated.

    Raises:
        ConfigError: --model-type without it, or a model of another type.
    """
    if options.checkpoint is None:
        if options.model_type is not None:
            raise ConfigError("--model-type goes with --checkpoint FILE alone; name the file, or leave it out")
        return {}
    policy: dict[str, Any] = {"model": options.checkpoint}
    simulation: dict[str, Any] = {}
    from perf_inference.model_build import metadata_of  # nothing of ROS before its transport is chosen
    from perf_inference.tasks.policy.contract.parse import contract_of_metadata

    contract = contract_of_metadata(metadata_of(options.checkpoint), options.checkpoint)
    if contract is not None and contract.main[0].message == "JointTrajectory":
        simulation["action_message"] = "joint_trajectory"
    if options.model_type is not None:
        _check_type(options.checkpoint, options.model_type)
    return {"policy_node": policy, "sim_robot_node": simulation}


def _check_type(checkpoint: str, wanted: str) -> None:
    from perf_inference import model_build

    engine = model_build.load(checkpoint)
    try:
        shapes = {spec.name: spec.shape for spec in engine.outputs}
    finally:
        engine.close()
    is_chunk = any(len(shape) == 3 and shape[1] != 1 for shape in shapes.values())
    if is_chunk != (wanted == "chunk"):
        has = "chunks" if is_chunk else "one action at a time"
        raise ConfigError(
            f"--model-type {wanted} does not fit '{checkpoint}', which gives {has}: {shapes}; leave it out"
        )
