"""Runtime `lerobot`: a policy run by LeRobot itself, in a process and an environment of its own.

LeRobot wants other versions of NumPy, OpenCV and Python than a ROS installation has, so it is never imported here. A
process that dies or does not answer is an engine's failure; another one is started, after a pause that grows.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perf_inference.engines.engine import NO_PARTS, ArraySpec, EngineInfo, Options, check_inputs
from perf_inference.engines.lerobot import contract
from perf_inference.engines.lerobot.folder import Feature, features_of
from perf_inference.engines.lerobot.process import Process
from perf_inference.engines.policy_folder import sign_of
from perf_inference.errors import ConfigError, EngineError
from perf_inference.files.json_file import read_json

_LOADS_S = 180.0
_FIRST_S = 120.0  # of the first inference
_LEAST_S, _TIMES = 2.0, 20  # an inference that takes longer than so many times the slowest before it has stalled
_PAUSES_S = (0.0, 5.0, 15.0, 60.0)  # before another process, within a while
_HEALTHY_S = 120.0
_TASK = "task"
_log = logging.getLogger(__name__)


def open_engine(model: str, options: Options) -> LerobotEngine:
    """Start LeRobot on a folder and wait until the policy has run once.

    Raises:
        ConfigError: no interpreter is given, or LeRobot cannot load the policy.
    """
    python = options.python
    if not python or not os.path.isabs(python) or not os.access(python, os.X_OK):
        raise ConfigError(
            "runtime 'lerobot' needs the parameter python, the absolute path of an interpreter that has LeRobot "
            "(python -m venv /opt/lerobot; /opt/lerobot/bin/pip install lerobot; python: /opt/lerobot/bin/python), got "
            f"'{python}'"
        )
    return LerobotEngine(Path(model), options)


class LerobotEngine:
    """A LeRobot policy; see `Engine`."""

    def __init__(self, folder: Path, options: Options) -> None:
        config = read_json(sign_of(folder))
        inputs = features_of(config, "input_features", folder)
        action = next((f for f in features_of(config, "output_features", folder) if f.kind == "ACTION"), None)
        if action is None:
            raise ConfigError(f"'{folder}' must give an action: its output_features have none")
        kind = str(config.get("type"))
        steps = int(config.get("n_obs_steps") or 1) if kind == "diffusion" else 1
        self._speaks = contract.is_told_its_task(kind)
        told = (ArraySpec(_TASK, (1,), np.dtype(object)),) if self._speaks else ()
        guided = _guided(config, action) if (config.get("rtc_config") or {}).get("enabled") else ()
        self.inputs: tuple[ArraySpec, ...] = (*(_spec(f, steps) for f in inputs), *guided, *told)
        self._output = action.name
        self._folder, self._options = str(folder.resolve()), options
        self._lock = threading.Lock()
        self._closed, self._ended = False, threading.Event()
        self._process: Process | None = None
        self._why = ""
        self._restarts, self._restarted_s, self._limit_s = 0, 0.0, _FIRST_S
        self.parts_ns: Mapping[str, int] = NO_PARTS
        said = self._start()
        try:
            answer = self._ask({spec.name: _blank(spec) for spec in self.inputs})
        except EngineError as error:
            self.close()
            raise ConfigError(f"'{folder}' does not run: {error}") from error
        self.outputs = (ArraySpec(action.name, answer.shape, answer.dtype, owned=True),)
        metadata = {**contract.metadata_of(folder), "lerobot_version": str(said.get("lerobot"))}
        device = str(said.get("device", "cpu"))
        self.info = EngineInfo(folder.name, "lerobot", "fp32", "cuda:0" if device == "cuda" else device, metadata)

    @property
    def pid(self) -> int | None:
        """The number of LeRobot's process; None: another one is being started."""
        process = self._process
        return None if process is None else process.pid

    def infer(self, inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        """See `Engine`.

        Raises:
            InputError: an array that does not fit.
            EngineError: the process has died or does not answer; another one is started.
        """
        if self._closed:
            raise EngineError(f"'{self.info.name}' is closed")
        check_inputs(self.inputs, inputs)
        answer = self._ask(inputs)
        if answer.shape != self.outputs[0].shape:
            raise EngineError(f"LeRobot gave {list(answer.shape)} where {list(self.outputs[0].shape)} came before")
        return {self._output: answer}

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._closed = True
            self._ended.set()
            process, self._process = self._process, None
        if process is not None:
            process.kill()

    def _ask(self, inputs: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        process = self._process
        if process is None:
            raise EngineError(self._why)
        arrays = {spec.name: inputs[spec.name] for spec in self.inputs if spec.name != _TASK}
        task = str(inputs[_TASK].reshape(-1)[0]) if self._speaks else None
        began_s = time.monotonic()
        try:
            answer = process.infer(arrays, task, self._limit_s)["action"]
        except EngineError as error:
            if process.alive:
                raise
            self._start_again(process, str(error))
            raise EngineError(f"{error}; another one is started") from error
        took_s = time.monotonic() - began_s
        first = self._limit_s == _FIRST_S
        self._limit_s = max(_LEAST_S, _TIMES * took_s) if first else max(self._limit_s, _TIMES * took_s)
        return np.array(answer)

    def _start(self) -> dict[str, Any]:
        options = self._options
        process = Process(options.python, self._folder, options.device, options.threads)
        try:
            said = process.ready(_LOADS_S)
        except (ConfigError, EngineError):
            process.kill()
            raise
        with self._lock:
            if not self._closed:
                self._process = process
                return said
        process.kill()
        return said

    def _start_again(self, dead: Process, why: str) -> None:
        """Start another process, in a thread of its own: this one's caller goes on without an answer."""
        with self._lock:
            if self._closed or self._process is not dead:
                return
            self._process, self._why = None, f"{why}; another one is being started"
            if time.monotonic() - self._restarted_s > _HEALTHY_S:
                self._restarts = 0
        _log.error("%s; another one is started", why)
        threading.Thread(target=self._revive, name="lerobot restart", daemon=True).start()

    def _revive(self) -> None:
        while not self._ended.wait(_PAUSES_S[min(self._restarts, len(_PAUSES_S) - 1)]):
            self._restarts, self._restarted_s = self._restarts + 1, time.monotonic()
            if not sign_of(Path(self._folder)).is_file():
                self._why = f"LeRobot's process has ended, and '{self._folder}' is there no more: set model again"
                return
            try:
                self._start()
            except (ConfigError, EngineError) as error:
                self._why = f"{error}; another one is being started"
                _log.error("%s", error)
                continue
            _log.warning("LeRobot's process runs again")
            return


def _spec(feature: Feature, steps: int) -> ArraySpec:
    before = (1,) if steps == 1 else (1, steps)
    if feature.kind == "VISUAL":
        channels, height, width = feature.shape
        return ArraySpec(feature.name, (*before, height, width, channels), np.dtype(np.uint8))
    return ArraySpec(feature.name, (*before, *feature.shape), np.dtype(np.float32))


def _guided(config: Mapping[str, Any], action: Feature) -> tuple[ArraySpec, ...]:
    """Return the inputs of real-time chunking: the plan's next steps, and how many of them are sent meanwhile."""
    steps = int(config.get("chunk_size") or 1)
    previous = ArraySpec("previous_chunk", (1, steps, *action.shape), np.dtype(np.float32))
    return previous, ArraySpec("delay_steps", (1,), np.dtype(np.int64))


def _blank(spec: ArraySpec) -> NDArray[Any]:
    shape = tuple(1 if length is None else length for length in spec.shape)
    return np.full(shape, "", object) if spec.dtype == object else np.zeros(shape, spec.dtype)
