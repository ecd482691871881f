"""What becomes of an arm when the processes that drive it die or hang, in a rig without stops and without a dead-man.

`python -m support.death_rig --trials 20`, with `test` in PYTHONPATH, prints a table: how far beyond a limit each death
let the arm get. Velocities stay in force for ever; a JointTrajectory is played as JointTrajectoryController does it.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from trajectory_msgs.msg import JointTrajectory

from perf_inference.bringup.domain import free_domain
from perf_inference.nodes.policy.gate_process import MODULE
from support.onnx_models import constant_policy
from support.processes import Process, inherited, wait_until
from support.safety_rig import FASTEST_RAD_S, LOWER_RAD, NAMES, UPPER_RAD, Rig
from support.trajectory_follower import RULES, Follower, Message, refusal

DEATHS = ("kill policy", "stop policy 3 s", "hold policy 2 s", "kill gate", "stop gate 3 s", "kill both")
BEYOND_RAD = 0.02
UNCOVERED = {("velocity", "kill both")}  # nothing of ours lives, and the controller has no time-out
_LAG_S, _STEP_S = 0.05, 0.002
# policy_node with a thread that holds the interpreter, as an extension that hangs does, where a file says for how long.
_HELD = """
import ctypes, os, sys, threading, time
def hold(path):
    while True:
        time.sleep(0.01)
        if os.path.exists(path):
            microseconds = int(open(path).read() or 0)
            if microseconds:
                os.remove(path)
                ctypes.PyDLL(None).usleep(microseconds)
threading.Thread(target=hold, args=(sys.argv.pop(1),), daemon=True).start()
from perf_inference.nodes.policy_node import main
main()
"""


class Played:
    """One joint behind the controller: it follows where that wants it, at once or after a lag."""

    def __init__(self, arm: PlayedArm, index: int) -> None:
        self._arm, self._index = arm, index
        self.position = self.highest = self.lowest = arm.follower.positions[index]
        self.velocity = 0.0

    def advance(self, now_s: float) -> None:
        self._arm.advance(now_s)

    def follow(self, desired: float, step_s: float) -> None:
        gain = 1 - math.exp(-step_s / _LAG_S) if self._index == 0 else 1.0
        step = gain * (desired - self.position)
        self.position, self.velocity = self.position + step, step / step_s
        self.highest, self.lowest = max(self.highest, self.position), min(self.lowest, self.position)


class PlayedArm:
    """The controller and its joints."""

    def __init__(self, places: Sequence[float]) -> None:
        self.follower = Follower(NAMES, places)
        self.joints = [Played(self, index) for index in range(len(places))]
        self._now_s = time.monotonic()

    def receive(self, message: Message) -> None:
        self.advance(time.monotonic())
        places, velocities = [j.position for j in self.joints], [j.velocity for j in self.joints]
        self.follower.receive(message, self._now_s, places, velocities)

    def advance(self, now_s: float) -> None:
        while now_s - self._now_s > 1e-9:
            step_s = min(now_s - self._now_s, _STEP_S)
            self._now_s += step_s
            self.follower.sample(self._now_s)
            for joint, desired in zip(self.joints, self.follower.positions, strict=True):
                joint.follow(desired, step_s)


class DeathRig(Rig):
    """A rig that starts, kills, stops and holds the processes that drive it."""

    def __init__(self, message: str, rate_hz: float, seed: int, folder: Path, parameters: Sequence[str] = ()) -> None:
        self.message, self._rate_hz, self._folder = message, rate_hz, folder
        self.refusals: list[str] = []
        self.messages = 0
        self._domain = free_domain()
        self._parameters = parameters
        self._file = folder / "hold"
        self.policy = self.start()
        kind = JointTrajectory if message == "trajectory" else None
        super().__init__(self._domain, False, seed, kind)

    def start(self) -> Process:
        model = constant_policy(self._folder / "towards_the_limits.onnx", (FASTEST_RAD_S, -FASTEST_RAD_S))
        given = [
            f"model:={model}", f"rate:={self._rate_hz}", "threads:=1", f"limits.lower:={list(LOWER_RAD)}",
            f"limits.upper:={list(UPPER_RAD)}", f"limits.velocity:={[FASTEST_RAD_S] * 2}", *self._parameters,
        ]  # fmt: skip
        if self.message == "trajectory":
            given += ["action_message:=joint_trajectory", "safe_action:=stop"]
        command = [sys.executable, "-c", _HELD, str(self._file), "--ros-args"]
        for parameter in given:
            command += ["-p", parameter]
        return Process(command, {**inherited(), "ROS_DOMAIN_ID": str(self._domain), "PYTHONUNBUFFERED": "1"})

    def close(self) -> None:
        super().close()
        self.policy.stop()

    # the arm ---------------------------------------------------------------------------------------------------------

    def place(self, positions: list[float]) -> None:
        if self.message != "trajectory":
            super().place(positions)
            return
        with self._lock:
            self._arm = PlayedArm(positions)
            self._joints = self._arm.joints  # type: ignore[assignment]

    def _on_action(self, message: Any) -> None:
        self.messages += 1
        if self.message != "trajectory":
            super()._on_action(message)
            return
        said = Message.of(message)
        why = [f"{rules}: {why}" for rules in RULES if (why := refusal(said, NAMES, time.time(), rules))]
        self.refusals += why
        if not why:
            with self._lock:
                self._arm.receive(said)

    # deaths ----------------------------------------------------------------------------------------------------------

    def gates(self) -> list[int]:
        """Return the processes of gates that belong to this rig."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                mine = process.environ().get("ROS_DOMAIN_ID") == str(self._domain)
                if mine and MODULE in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process.pid)
        return found

    def die(self, death: str) -> None:
        """Let this happen, and return at once or when it is over."""
        gates = self.gates()
        assert len(gates) == 1, gates
        if death == "kill policy":
            self.policy.send(signal.SIGKILL)
        elif death == "kill gate":
            os.kill(gates[0], signal.SIGKILL)
        elif death == "kill both":
            os.kill(gates[0], signal.SIGKILL)
            self.policy.send(signal.SIGKILL)
        elif death.startswith("stop"):
            pid = self.policy.pid if "policy" in death else gates[0]
            os.kill(pid, signal.SIGSTOP)
            wait_until(lambda: False, 3.0)
            os.kill(pid, signal.SIGCONT)
        elif death.startswith("hold"):
            self._file.write_text("2000000")
            wait_until(lambda: False, 2.0)
        else:
            assert death == "none"

    def enable(self, on: bool) -> None:
        """Ask until somebody answers: a process that was killed seems to serve for a while."""
        from std_srvs.srv import SetBool

        def answered() -> bool:
            future = self._enable.call_async(SetBool.Request(data=on))
            return wait_until(future.done, 1.0) and bool(future.result().success)

        assert wait_until(answered, 60), self.policy.output()

    def death(self, death: str) -> Death:
        """Drive towards both limits at full speed, let it happen on the way, and wait for what comes of it."""
        if not self.policy.alive:
            self.policy = self.start()
        self.begin("none")
        self.enable(False)
        starts = [self.chance.uniform(-1.2, 0.8), self.chance.uniform(-0.8, 1.2)]
        self.place(starts)
        assert wait_until(lambda: self._settled(starts), 10)
        self.enable(True)
        # What a process that was killed has left in shared memory may hold up this one until it is forgotten (20 s).
        assert wait_until(lambda: abs(self.state()[0].velocity) > 0.1, 40), self.policy.output()
        wait_until(lambda: False, self.chance.uniform(0.05, 0.9))
        began_s = time.monotonic()
        self.die(death)
        dead = death.startswith("kill")
        at_rest = wait_until(self.at_rest, 6)
        rested_s = time.monotonic() - began_s
        wait_until(lambda: False, 0.5)
        joints = zip(self.state(), LOWER_RAD, UPPER_RAD, strict=True)
        beyond = max(max(joint.highest - high, low - joint.lowest) for joint, low, high in joints)
        gone_s = None
        if dead:
            assert wait_until(lambda: death == "kill gate" or not self.gates(), 10), "a gate is left"
            gone_s = time.monotonic() - began_s
            self.policy.stop(signal.SIGINT)
        return Death(beyond, rested_s if at_rest else None, gone_s)

    def at_rest(self) -> bool:
        return all(abs(joint.velocity) < 1e-3 for joint in self.state())


class Death(NamedTuple):
    """What came of one."""

    beyond_rad: float  # the farthest beyond a limit; below zero: within
    rested_s: float | None  # after its begin; None: it moves on
    gone_s: float | None


@contextlib.contextmanager
def running(message: str, rate_hz: float, seed: int = 0, parameters: Sequence[str] = ()) -> Iterator[DeathRig]:
    """A rig with its processes."""
    with tempfile.TemporaryDirectory() as folder:
        rig = DeathRig(message, rate_hz, seed, Path(folder), parameters)
        try:
            yield rig
        finally:
            rig.close()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--rate", type=float, default=50.0)
    parser.add_argument("--message", nargs="*", default=["velocity", "trajectory"])
    parser.add_argument("--death", nargs="*", default=list(DEATHS))
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    for message in args.message:
        with running(message, args.rate, args.seed) as rig:
            for death in args.death:
                ended = [rig.death(death) for _ in range(args.trials)]
                rests = [trial.rested_s for trial in ended if trial.rested_s is not None]
                gone = max((trial.gone_s for trial in ended if trial.gone_s is not None), default=0.0)
                print(
                    f"{message:10s} {death:15s} {len(ended)} trials: "
                    f"worst {max(t.beyond_rad for t in ended):+.3f} rad, "
                    f"beyond by more than {BEYOND_RAD} rad {sum(t.beyond_rad > BEYOND_RAD for t in ended)}, "
                    f"came to rest {len(rests)}, after {max(rests, default=0):.2f} s at most, "
                    f"no gate left {gone:.1f} s after it",
                    flush=True,
                )
            print(f"{message:10s} {rig.messages} messages, refused: {len(rig.refusals)} {rig.refusals[:3]}", flush=True)


if __name__ == "__main__":
    main()
