"""The other process: started, asked, watched, and killed where it does not answer."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perf_inference.engines.lerobot.worker import HEAD, MOST_HEADER
from perf_inference.errors import ConfigError, EngineError
from perf_inference.printable import shown

_WORKER = Path(__file__).with_name("worker.py")
_MOST_BYTES = 1 << 28  # of the arrays of one answer
_LEFT_OUT = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "VIRTUAL_ENV")
_END_S = 2.0

Arrays = Mapping[str, NDArray[Any]]


class Process:
    """One process of LeRobot; used by one thread at a time, but for `kill`."""

    def __init__(self, python: str, folder: str, device: str, threads: int) -> None:
        """Start it; it loads the policy, which `ready` waits for."""
        ours, theirs = socket.socketpair()
        life, self._life = os.pipe()  # its other end is closed when this process ends, however it does
        try:
            self._process = subprocess.Popen(
                # -I: no module of the current folder, of PYTHONPATH (a ROS installation's) or beside the worker
                [python, "-I", str(_WORKER), str(life), str(theirs.fileno())],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                pass_fds=[life, theirs.fileno()], env=_environment(), start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            ours.close()
            os.close(self._life)
            raise ConfigError(f"python '{shown(python)}' cannot be started: {error.strerror or error}") from error
        finally:
            theirs.close()
            os.close(life)
        self.pid, self._python = self._process.pid, python
        self._socket = ours
        self._socket.setblocking(False)
        self._stillborn: EngineError | None = None
        try:
            self._send({"folder": folder, "device": device, "threads": threads}, (), time.monotonic() + _END_S)
        except EngineError as error:  # it has died already, of which `ready` tells
            self._stillborn = error

    def ready(self, timeout_s: float) -> dict[str, Any]:
        """Wait until the policy is loaded; return what it says of itself.

        Raises:
            EngineError: it was killed, or is not ready by then.
            ConfigError: the policy cannot be loaded there.
        """
        try:
            if self._stillborn is not None:
                raise self._stillborn
            header, _ = self._answer(timeout_s)
        except EngineError as error:
            if (self._process.poll() or 0) <= 0:  # killed, which may be another time's luck
                raise
            how = f"see what this says: {self._python} -I -c 'import lerobot'"
            raise ConfigError(f"{error} while it was loaded; {how}") from error
        if said := header.get("error"):
            self.kill()
            raise ConfigError(f"LeRobot cannot load it: {shown(said, 600)}")
        return header

    def infer(self, arrays: Arrays, task: str | None, timeout_s: float) -> Arrays:
        """Return the answer's arrays.

        Raises:
            EngineError: it has died or does not answer in time (it is killed then), or LeRobot raised.
        """
        header = {} if task is None else {"task": task}
        listed = [(name, np.ascontiguousarray(array)) for name, array in arrays.items()]
        self._send(header, listed, time.monotonic() + timeout_s)
        answer, data = self._answer(timeout_s)
        if error := answer.get("error"):
            raise EngineError(f"LeRobot failed: {shown(error, 600)}")
        return _arrays(answer, data)

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        """End it at once; a second call does nothing."""
        with contextlib.suppress(OSError):
            self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_S)
        self._socket.close()
        if self._life >= 0:
            os.close(self._life)
            self._life = -1

    def _send(self, header: Mapping[str, Any], arrays: Sequence[tuple[str, NDArray[Any]]], deadline_s: float) -> None:
        said = {**header, "arrays": [[name, array.dtype.str, list(array.shape)] for name, array in arrays]}
        text = json.dumps(said).encode()
        size = sum(array.nbytes for _, array in arrays)
        bodies = (memoryview(array.tobytes()) for _, array in arrays)
        for part in (memoryview(HEAD.pack(len(text), size) + text), *bodies):
            left = part
            while len(left):
                self._wait(select.POLLOUT, deadline_s)
                try:
                    left = left[self._socket.send(left) :]
                except BlockingIOError:
                    continue
                except OSError:
                    raise self._ended() from None

    def _answer(self, timeout_s: float) -> tuple[dict[str, Any], bytes]:
        deadline_s = time.monotonic() + timeout_s
        length, size = HEAD.unpack(self._read(HEAD.size, deadline_s))
        if length > MOST_HEADER or size > _MOST_BYTES:
            self.kill()
            raise EngineError(f"LeRobot's process answered {length} and {size} bytes, which is too much; it is killed")
        header, data = json.loads(self._read(length, deadline_s)), self._read(size, deadline_s)
        if not isinstance(header, dict):
            raise EngineError("LeRobot's process answered no header")
        return header, data

    def _read(self, count: int, deadline_s: float) -> bytes:
        data = bytearray()
        while len(data) < count:
            self._wait(select.POLLIN, deadline_s)
            try:
                part = self._socket.recv(min(count - len(data), 1 << 20))
            except BlockingIOError:
                continue
            except OSError:
                part = b""
            if not part:
                raise self._ended()
            data += part
        return bytes(data)

    def _wait(self, event: int, deadline_s: float) -> None:
        poll = select.poll()
        poll.register(self._socket, event)
        left_s = deadline_s - time.monotonic()
        if left_s <= 0 or not poll.poll(left_s * 1000):
            self.kill()
            raise EngineError("LeRobot's process did not answer in time, and is killed")

    def _ended(self) -> EngineError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_S)
        status = self._process.poll()
        if status is None:
            how = "has closed its socket"
        elif status in (-signal.SIGKILL, 137):
            how = "was killed, as the kernel does where memory runs out"
        else:
            how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        self.kill()
        return EngineError(f"LeRobot's process {how}")


def _arrays(header: Mapping[str, Any], data: bytes) -> dict[str, NDArray[Any]]:
    found, start = {}, 0
    try:
        for name, dtype, shape in header["arrays"]:
            kind = np.dtype(dtype)
            if kind.hasobject:
                raise ValueError(dtype)
            count = int(np.prod(shape, dtype=np.int64))
            found[str(name)] = np.frombuffer(data, kind, count, start).reshape(shape)
            start += count * kind.itemsize
    except (KeyError, ValueError, TypeError) as error:
        raise EngineError(f"LeRobot's process answered no arrays: {shown(error)}") from error
    return found


def _environment() -> dict[str, str]:
    """Return this environment without what makes another Python find this one's packages; nothing is downloaded."""
    kept = {name: value for name, value in os.environ.items() if name not in _LEFT_OUT}
    return {**kept, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
