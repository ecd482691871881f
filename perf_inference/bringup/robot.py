"""Which nodes run, from one ROS parameters file: the list that the launch file and `perf-inference run` share."""

from __future__ import annotations

import atexit
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from perf_inference.bringup.executables import CONTAINER, NODES, image_bytes
from perf_inference.bringup.parameters_file import (
    assigned_in,
    check_reach,
    expected_nodes,
    namespace_of,
    sections_of,
    short,
    sort_sections,
)
from perf_inference.errors import ConfigError
from perf_inference.files.private import PRIVATE
from perf_inference.files.whole import whole_file

_GLOBAL = "/**"
# Of a policy whose robot is simulated: nothing real moves, and each episode puts the arm somewhere else.
_SIMULATED = {
    "enabled": True,
    "enabled_after_restart": True,
    "tracking_tolerance": 0.0,
    "gate": "inline",
    "command_timeout_s": 0.3,  # the simulated arm brakes then
}
SESSION = re.compile(r"[\w.-]+")


@dataclass(frozen=True)
class NodeSpec:
    """One node to start."""

    name: str
    executable: str
    remappings: tuple[str, ...] = ()  # `image:=camera/image_raw`
    parameters: Mapping[str, Any] = field(default_factory=dict)  # set by the starter, over the file's
    images: bool = False  # it publishes images
    enclave: str = ""  # of SROS2; empty: none is named
    namespace: str = ""  # with its leading slash; empty: the root
    model: str = ""  # as file and starter name it; empty: none is named
    image_bytes: int = 0  # of an image that it publishes; 0: not known
    process: str = ""  # that it shares with the nodes of the same; empty: it has its own

    @property
    def label(self) -> str:
        """What the starters call it: two robots may have a node of one name."""
        return f"{self.namespace}/{self.name}".lstrip("/")


@dataclass(frozen=True)
class Graph:
    """The nodes of one start and the files that their parameters come from."""

    files: tuple[Path, ...]
    nodes: tuple[NodeSpec, ...]
    run_directories: tuple[Path, ...] = ()  # where the recorders write; of several robots several
    enclave: str = ""  # of one process with all nodes
    others: tuple[str, ...] = ()  # sections of the file for other packages' nodes

    @property
    def run_directory(self) -> Path | None:
        """Where the first recorder writes; None: none is started."""
        return next(iter(self.run_directories), None)

    @property
    def others_line(self) -> str:
        """What is told of the sections that are not ours; empty: there are none."""
        return f"left to other packages: {', '.join(self.others)}" if self.others else ""

    def close(self) -> None:
        """Remove the starter's own file where it lies in no run's directory; the nodes have read it."""
        if self.run_directory is None and len(self.files) > 1:
            shutil.rmtree(self.files[1].parent, ignore_errors=True)

    def command(self, node: NodeSpec) -> list[str]:
        """Return the command line of one node's process."""
        module = f"perf_inference.nodes.{node.executable}"
        arguments = ["-r", f"__node:={node.name}", *self._common(node.namespace)]
        for remapping in node.remappings:
            arguments += ["-r", remapping]
        arguments += ["--enclave", node.enclave] if node.enclave else []
        return [sys.executable, "-m", module, "--ros-args", *arguments]

    def container_command(self) -> list[str]:
        """Return the command line of one process with all nodes."""
        named = [f"{node.executable}={node.name}" for node in self.nodes]
        return [sys.executable, "-m", "perf_inference.nodes.container", *named, *self.container_arguments()]

    def container_arguments(self) -> list[str]:
        """Return the ROS arguments of a process with all nodes.

        Raises:
            ConfigError: they are of several namespaces.
        """
        namespaces = {node.namespace for node in self.nodes}
        if len(namespaces) > 1:
            named = ", ".join(sorted(space or "/" for space in namespaces))
            raise ConfigError(f"a container takes the nodes of one namespace, these are of {named}; start it without")
        arguments = ["--ros-args", *self._common(*namespaces)]
        for node in self.nodes:
            for remapping in node.remappings:
                arguments += ["-r", f"{node.name}:{remapping}"]
        return arguments + (["--enclave", self.enclave] if self.enclave else [])

    def image_publishers(self, container: bool = False) -> list[str]:
        """Return the names of the processes that publish images."""
        names = [node.label for node in self.nodes if node.images]
        return [CONTAINER] if container and names else names

    def _common(self, namespace: str) -> list[str]:
        arguments = []
        for file in self.files:
            arguments += ["--params-file", str(file)]
        return arguments + (["-r", f"__ns:={namespace}"] if namespace else [])


def read_graph(
    config: Path,
    sim: bool = False,
    record: bool = True,
    session: str = "run",
    overrides: Mapping[str, Mapping[str, Any]] | None = None,
    assignments: Sequence[str] = (),
    namespace: str = "",
) -> Graph:
    """Return the nodes that the sections of a parameters file name.

    Args:
        sim: start the simulated robot's sections too, and enable the policy where the file does not say.
        record: start the recorder's section too.
        session: first part of the name of the run's directory, where the file does not say.
        overrides: parameters by executable that the starter sets over the file's.
        assignments: `NODE.PARAMETER=VALUE`, as the user gave them on the command line; over all others.
        namespace: of all nodes; empty: each section's own.

    Raises:
        ConfigError: no such file, one that names no node of this package, or a section that would not reach its node.
    """
    sections = sort_sections(sections_of(config), config)
    chosen = [
        section
        for section in sections.ours
        if (sim or section.executable != "sim_robot_node") and (record or section.executable != "recorder_node")
    ]
    if not chosen:
        raise ConfigError(f"{config} starts no node: give it sections such as /**/yolo_node, or sim:=true")
    if sim and not any(section.executable == "sim_robot_node" for section in chosen):
        raise ConfigError(f"sim needs a section of {config} with start.executable: sim_robot_node, there is none")
    spaces = [namespace_of(section.key, namespace) for section in chosen]
    check_reach(sections, chosen, spaces, config)
    assigned = assigned_in(assignments, [section.name for section in chosen])
    run_directories: list[Path] = []
    spaces_of_runs: list[str] = []
    speaking: list[tuple[str, dict[str, Any]]] = []  # who keeps sounds in them: namespace and settings
    nodes = []
    for section, space in zip(chosen, spaces, strict=True):
        common = sections.common_of(f"{space}/{section.name}")
        given = {name: value for one in (*common, section) for name, value in one.parameters.items()}
        settings: dict[str, Any] = {}
        if section.executable == "policy_node" and sim:
            settings = {name: value for name, value in _SIMULATED.items() if name not in given}
        if section.executable == "recorder_node":
            asked = {**given, **assigned.get(section.name, {})}
            output_dir, name_ = _recorder_names(asked, session, section.key, config)
            run_directory, start_time = _new_run_directory(output_dir, name_)
            run_directories.append(run_directory)
            spaces_of_runs.append(space)
            settings = {"output_dir": str(output_dir), "session": name_, "start_time": start_time}
        heard = expected_nodes(chosen, spaces, space) if section.executable == "monitor_node" else []
        if heard and "expected" not in given:
            settings = {"expected": heard}
        settings.update({**(overrides or {}).get(section.executable, {}), **assigned.get(section.name, {})})
        if section.executable == "speech_node" and not {**given, **settings}.get("sound_dir"):
            speaking.append((space, settings))
        # Of two rules that match, rcl takes the first: a node's own come before those for all.
        remappings = [rule for one in (section, *reversed(common)) for rule in one.start.get("remap", ())]
        enclaves = [one.start.get("enclave", "") for one in (section, *reversed(common))]
        images = NODES[section.executable] and {**given, **settings}.get("part") != "arm"
        nodes.append(
            NodeSpec(
                section.name,
                section.executable,
                tuple(remappings),
                settings,
                images,
                next(filter(None, enclaves), ""),
                space,
                str({**given, **settings}.get("model", "")),
                image_bytes(section.executable, {**given, **settings}),
                next(filter(None, (one.start.get("process", "") for one in (section, *reversed(common)))), ""),
            )
        )
    for space, settings in speaking if run_directories else ():
        nearest = spaces_of_runs.index(space) if space in spaces_of_runs else 0
        settings["sound_dir"] = str(run_directories[nearest] / "speech")
    for_all_nodes = next((one.start.get("enclave", "") for one in sections.common if one.key == _GLOBAL), "")
    files = (config, *_overrides_file(nodes, next(iter(run_directories), None)))
    return Graph(files, tuple(nodes), tuple(run_directories), for_all_nodes, sections.others)


def _new_run_directory(output_dir: Path, session: str) -> tuple[Path, str]:
    """Make the run's directory, one second later where another start has just made it; return it and its time."""
    if not re.fullmatch(r"[\w.-]+", str(session)):
        raise ConfigError(f"session must be a name of letters, digits, '_', '-' and '.', got '{session}'")
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"output_dir must be a folder, got {output_dir}: {error.strerror}") from error
    while True:
        start_time = time.strftime("%Y%m%d_%H%M%S")
        directory = output_dir / f"{session}_{start_time}"
        try:
            directory.mkdir(PRIVATE)  # the recorder opens it to those who may read it
        except FileExistsError:
            time.sleep(0.1)
        except OSError as error:
            raise ConfigError(f"output_dir must be writable, got {output_dir}: {error.strerror}") from error
        else:
            return directory, start_time


def _overrides_file(nodes: Sequence[NodeSpec], run_directory: Path | None) -> list[Path]:
    """Write what the starter sets as a second parameters file, into the run's directory where there is one.

    On the command line it could not be said for a node in any namespace, and of two patterns that match a node rcl
    takes the one that it met last; a file can repeat the section's own pattern.
    """
    names = [node.name for node in nodes]
    sections = {
        f"/**/{node.name}" if names.count(node.name) == 1 else f"/{node.label}":
            {"ros__parameters": dict(node.parameters)}
        for node in nodes
        if node.parameters or names.count(node.name) > 1  # each finds itself in it
    }  # fmt: skip
    if not any(node.parameters for node in nodes):
        return []
    if run_directory is None:
        folder = Path(tempfile.mkdtemp(prefix="perf_inference_"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    else:
        folder = run_directory
    try:
        with whole_file(folder / "starter.yaml") as file:
            file.write(yaml.safe_dump(sections).encode())
    except OSError as error:
        raise ConfigError(f"output_dir must be writable, got {folder}: {error.strerror}") from error
    return [folder / "starter.yaml"]


def default_config() -> Path:
    """Return the robot.yaml of this installation or source tree.

    Raises:
        ConfigError: there is none.
    """
    for parent in Path(__file__).resolve().parents:
        for folder in (parent / "share" / "perf_inference" / "config", parent / "config"):
            if (folder / "robot.yaml").is_file():
                return folder / "robot.yaml"
    raise ConfigError("config/robot.yaml is neither installed nor in a source tree; give --config FILE")


def _recorder_names(parameters: Mapping[str, Any], session: str, key: str, config: Path) -> tuple[Path, str]:
    """Return the recorder's output_dir and session."""
    output_dir, session = parameters.get("output_dir", "runs"), parameters.get("session", session)
    if not isinstance(output_dir, str) or not output_dir.isprintable() or not output_dir:
        raise ConfigError(f"output_dir in section '{key}' of {config} must be the name of a folder, got "
                          f"{short(output_dir)}")  # fmt: skip
    if not isinstance(session, str) or not SESSION.fullmatch(session):
        raise ConfigError(f"session in section '{key}' of {config} must be a name of letters, digits, '_', '-' and "
                          f"'.', got {short(session)}")  # fmt: skip
    return Path(output_dir).expanduser(), session
