"""What a start was: written into the run's directory, and read back to start the same again.

`perf-inference run`, `perf-inference demo` and the launch file each write it, in the words of `perf-inference run`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import stat
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import perf_inference
from perf_inference._version import VERSION
from perf_inference.bringup.robot import Graph
from perf_inference.bringup.start import NODES_LOG, choose_domain, say
from perf_inference.errors import ConfigError
from perf_inference.files.whole import whole_file
from perf_inference.recording.run_directory import IMAGE, SESSION, TIMINGS

NAME = "start.json"
_SAME: Mapping[str, Any] = {"namespace": "", "sim": False, "container": False, "tuning": True, "record": True,
                            "checkpoint": None, "model_type": None, "assignments": []}  # fmt: skip
_LARGEST, _CHUNK = 10_000_000, 1 << 20  # bytes of the file, and of a model that are read at once
_FIRST = "starter.yaml"  # that is written in a start
_WRITTEN_AT_A_START = {NAME, _FIRST, NODES_LOG, SESSION, IMAGE}
_REFUSED_S = 60.0


class Digests:
    """Adds the models' digests to what was written, on a thread of its own: a model may have gigabytes."""

    def __init__(self, graph: Graph, said: Mapping[str, Any]) -> None:
        self._graph, self._said = graph, said
        self._turn, self._stopped = threading.Lock(), False
        if graph.run_directories:
            threading.Thread(target=self._work, name="digests of the models", daemon=True).start()

    def stop(self) -> None:
        """Write no more."""
        with self._turn:
            self._stopped = True

    def _work(self) -> None:
        models = sorted({node.model for node in self._graph.nodes if node.model})
        found = {model: sha256_of(model) for model in models}
        with self._turn:
            if not self._stopped:
                _write(self._graph.run_directories, {**self._said, "models_sha256": found})


def keep(graph: Graph, options: argparse.Namespace, command: str = "run") -> Digests:
    """Write what was started into the runs' directories, the models' digests as soon as they are known.

    Args:
        options: those of `perf-inference run` that start the same; what is left out is as it is by default.
        command: what has started it.
    """
    said: dict[str, Any] = {
        "command": command,
        "perf_inference": VERSION,
        "git": _revision(),
        "directory": os.getcwd(),
        "config": str(graph.files[0]),
        "config_text": graph.files[0].read_text(encoding="utf-8"),
        "options": {name: getattr(options, name, value) for name, value in _SAME.items()},
        "nodes": {node.label: {"executable": node.executable, "namespace": node.namespace, "model": node.model,
                               "remappings": list(node.remappings), "set_by_starter": dict(node.parameters)}
                  for node in graph.nodes},
        "rmw": os.environ.get("RMW_IMPLEMENTATION"),
        "ros_distro": os.environ.get("ROS_DISTRO"),
        "ros_domain_id": os.environ.get("ROS_DOMAIN_ID"),
        "models_sha256": None,
    }  # fmt: skip
    _write(graph.run_directories, said)
    return Digests(graph, said)


def restored(options: argparse.Namespace, folder: Path) -> argparse.Namespace:
    """Return the options of the start that `--like` names; its configuration is written into the folder.

    Raises:
        ConfigError: there is none, it is damaged, or a model is another one now.
    """
    if options.config is not None or options.checkpoint is not None or options.sim or options.namespace:
        raise ConfigError(
            "--like RUN starts what that run was: leave --config, --checkpoint, --sim and --namespace out"
        )
    path = _file_of(options)
    said = _read(path)
    for model, before in (said.get("models_sha256") or {}).items():
        if before is not None and (now := sha256_of(model)) != before:
            what = "is not there" if now is None else f"has SHA-256 {now[:12]}"
            raise ConfigError(f"model '{model}' {what}, in {path} it has {before[:12]}; bring that file back")
    if said.get("command") == "demo" and (domain := choose_domain()) is not None:  # a real robot hears nothing of it
        say(f"a demo's run, in a domain that nobody else uses: export ROS_DOMAIN_ID={domain}")
    config = folder / Path(str(said["config"])).name
    config.write_text(str(said["config_text"]), encoding="utf-8")
    given: Mapping[str, Any] = said["options"]
    values = {name: given[name] for name in _SAME if name in given}
    values["assignments"] = [*given.get("assignments", []), *options.assignments]
    return argparse.Namespace(**{**vars(options), **values, "config": config})


def differences(options: argparse.Namespace) -> list[str]:
    """Return what is not as it was in the run that `--like` names, a line each."""
    said = _read(_file_of(options))
    now = {"perf_inference": VERSION, "git": _revision(), "directory": os.getcwd(),
           "rmw": os.environ.get("RMW_IMPLEMENTATION"), "ros_distro": os.environ.get("ROS_DISTRO")}  # fmt: skip
    return [f"{name} was {said.get(name)}, is {value}" for name, value in now.items() if said.get(name) != value]


def set_by(graph: Graph, overrides: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return what a starter set over the file, by executable, as `NODE.PARAMETER=VALUE` for each node."""
    return [f"{node.name}.{name}={json.dumps(value)}"
            for node in graph.nodes for name, value in overrides.get(node.executable, {}).items()]  # fmt: skip


def remove_refused(directories: Sequence[Path]) -> None:
    """Remove the directories of a start that was refused, where no inference and no minute of anything is in them."""
    for directory in directories:
        if directory.is_dir() and all(_is_of_a_refusal(path) for path in directory.iterdir()):
            for path in directory.iterdir():
                path.unlink(missing_ok=True)
            directory.rmdir()


def _is_of_a_refusal(path: Path) -> bool:
    about = path.lstat()
    if not stat.S_ISREG(about.st_mode):
        return False
    if path.name in _WRITTEN_AT_A_START:
        return True
    if path.match(TIMINGS):
        return about.st_size == 0
    if path.match("topics_1.jsonl"):
        first = path.parent / _FIRST
        return first.exists() and about.st_mtime - first.stat().st_mtime < _REFUSED_S
    return path.match("performance_summary_*.json")


def sha256_of(model: str) -> str | None:
    """Return the digest of a model's file, or of an embedded one's; None where it is no file."""
    path = Path(model).expanduser()
    if not path.is_file():
        path = Path(perf_inference.__file__).parent / "models" / f"{model}.onnx"
    if "/" in model and not Path(model).expanduser().is_file():
        return None
    try:
        found = hashlib.sha256()
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                found.update(chunk)
    except OSError:
        return None
    return found.hexdigest()


def _revision() -> str | None:
    """Return the git revision of a checkout that this package runs from."""
    root = Path(perf_inference.__file__).parent.parent
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip() or None
    except (OSError, subprocess.SubprocessError):
        return None


def _file_of(options: argparse.Namespace) -> Path:
    run = Path(options.like)
    return (run.parent if run.is_file() else run) / NAME


def _write(directories: Sequence[Path], said: Mapping[str, Any]) -> None:
    for directory in directories:
        if directory.is_dir():
            with whole_file(directory / NAME) as file:
                file.write(json.dumps(said, indent=1, default=str).encode() + b"\n")


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _LARGEST:
            raise ConfigError(f"{path} must be at most {_LARGEST} bytes")
        said = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(
            "--like must name the directory of a run that `perf-inference run`, `demo` or the launch file started, "
            f"there is no {path}"
        ) from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    if not isinstance(said, dict) or not {"config", "config_text", "options"} <= set(said):
        raise ConfigError(f"{path} must say config, config_text and options")
    if not isinstance(said["options"], dict) or not isinstance(said["config_text"], str):
        raise ConfigError(f"{path} must have options as an object and config_text as a text")
    return said
