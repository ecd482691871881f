"""The process of the gate, as policy_node starts it: it outlives policy_node, and nothing else outlives it.

It is in a session of its own and asks for no parent-death signal, for what kills policy_node must not kill it. It ends
by itself when its end of the pipe says that policy_node is gone: so it gets that pipe, what policy_node prints to, and
no other descriptor.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from perf_inference.bringup import child_process, middleware, tuning
from perf_inference.safety.process.pipe import pair

MODULE = "perf_inference.nodes.policy_node_gate"
_FOR_ORPHANS_S = 3.0  # they end by themselves within 2 s
_LOOK_S = 0.02


class Owner(NamedTuple):
    """Whose gate it is: what its command line says, so that a later policy_node of this name finds it."""

    node: str  # the full name of policy_node
    domain: str
    process: child_process.Process

    @classmethod
    def of(cls, node: str) -> Owner:
        """Return this process, for its node of this name."""
        return cls(node, os.environ.get("ROS_DOMAIN_ID", "0"), child_process.Process.of(os.getpid()))

    def arguments(self) -> list[str]:
        """Return it as arguments."""
        return ["--of", self.node, "--domain", self.domain, "--policy", f"{self.process.pid}:{self.process.started}"]

    @classmethod
    def read(cls, arguments: Sequence[str]) -> Owner:
        """Return what `arguments` made.

        Raises:
            ValueError: they are others.
        """
        values = dict(zip(arguments[::2], arguments[1::2], strict=False))
        try:
            pid, _, started = values["--policy"].partition(":")
            return cls(values["--of"], values["--domain"], child_process.Process(int(pid), int(started)))
        except KeyError as error:
            raise ValueError(f"a gate's process must have the argument {error}") from error


class GateProcess:
    """One process and policy_node's end of its pipe."""

    def __init__(self, owner: Owner, sim_time: bool, ros_arguments: Sequence[str] = ()) -> None:
        """Start it; it says nothing before it gets its `Setup`."""
        self.pipe, theirs = pair()
        command = [sys.executable, "-m", MODULE, *owner.arguments(), "--pipe", str(theirs.fileno())]
        command += ["--sim-time"] if sim_time else []
        with theirs:
            self._process = subprocess.Popen(
                [*command, "--ros-args", *ros_arguments],
                env=_environment(),
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self.pid = self._process.pid

    def ended(self) -> str:
        """Return how it has ended, or nothing."""
        status = self._process.poll()
        if status is None:
            return ""
        with contextlib.suppress(ValueError):
            return f"was killed by {signal.Signals(-status).name}"
        return f"ended with status {status}"

    def kill(self) -> None:
        """End it outright: one that has closed its pipe and does not end."""
        self._process.kill()

    def close(self, timeout_s: float) -> None:
        """Close the pipe, which ends it, and wait for that; one that takes longer is left to itself."""
        self.pipe.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout_s)


def wait_for_orphans(owner: Owner, say: Callable[[str], object]) -> None:
    """Wait until no gate of an earlier policy_node of this name sends any more; one that hangs is killed."""
    deadline = time.monotonic() + _FOR_ORPHANS_S
    told = False
    while left := [pid for pid, other in _gates() if _is_orphan(other, owner)]:
        if not told:
            say(f"waiting for the gate of an earlier {owner.node} to end (process {', '.join(map(str, left))})")
            told = True
        if time.monotonic() > deadline:
            for pid in left:
                say(f"the gate of an earlier {owner.node}, process {pid}, does not end: it is killed")
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            deadline = time.monotonic() + _FOR_ORPHANS_S
        time.sleep(_LOOK_S)


def _is_orphan(other: Owner, owner: Owner) -> bool:
    return (other.node, other.domain) == (owner.node, owner.domain) and not other.process.alive


def _gates() -> Iterator[tuple[int, Owner]]:
    """Yield the processes of gates that this user runs here, and whose they are."""
    for name in os.listdir("/proc"):
        if not name.isdecimal():
            continue
        try:
            if os.stat(f"/proc/{name}").st_uid != os.geteuid() or not child_process.Process.of(int(name)).alive:
                continue
            with open(f"/proc/{name}/cmdline", "rb") as file:
                words = file.read().decode(errors="replace").split("\0")
            if MODULE in words:
                yield int(name), Owner.read(words[words.index(MODULE) + 1 :])
        except (OSError, ValueError):
            continue


def _environment() -> dict[str, str]:
    """Return the environment of the gate: it follows no starter but its pipe, and sends through no shared memory."""
    own = {child_process.SUPERVISED: "none", tuning.TUNING: "by_starter", "PYTHONUNBUFFERED": "1"}
    unwanted = {tuning.SIGNAL_STATUS, tuning.RESTARTED}
    inherited = middleware.without_shared_memory(os.environ, found_soon=not tuning.is_off(os.environ))
    return {name: value for name, value in inherited.items() if name not in unwanted} | own
