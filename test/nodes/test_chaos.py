"""Ten minutes in which anything may die: what was measured is in the recording once, or is counted as lost.

    act        at random, one after the other, with pauses of some seconds
    kill       kill -9 of one node, which the starter starts again
    stop       SIGSTOP of one node for up to 4 s, then SIGCONT
    full       the disk of the recording is filled to the last byte for up to 6 s, while other acts go on
    unlink     the shared memory of the nodes' transport is removed from /dev/shm under them
    second     a second publisher sends other images, joints, forces and heartbeats for some seconds

A witness outside of the robot hears all timings, heartbeats and actions.
"""

from __future__ import annotations

import contextlib
import math
import os
import random
import re
import signal
import subprocess
import time
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import psutil
import pytest

pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from geometry_msgs.msg import WrenchStamped
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Float64MultiArray, Header
from support.processes import Process, Ros

from perf_inference.bringup import shared_memory
from perf_inference.nodes.reports.messages import from_key_values, timing_record
from perf_inference.nodes.reports.reporter import STATUS_QOS, TIMING_QOS
from perf_inference.recording.jsonl.line import LineError, unsealed
from perf_inference.recording.recovery.timings_survey import survey_timings

CHAOS_S = float(os.environ.get("PERF_INFERENCE_CHAOS_S", "600"))
SEED = int(os.environ.get("PERF_INFERENCE_CHAOS_SEED", random.SystemRandom().randrange(2**31)))
NODES = ("sim_arm", "sim_camera", "policy_node", "yolo_node", "caption_node", "monitor_node", "recorder_node")
BEATING = ("policy_node", "yolo_node", "caption_node", "recorder_node")  # a simulated robot has no heartbeat
REST_S = 65.0  # a node that lived a minute has its restarts back: it is not given up
FASTEST_RAD_S = 2.5  # config/robot.yaml
DISK = "400M"
_SAVED_NS, _ASKED_NS = 2_000_000_000, 5_000_000_000  # saved within the recorder's period; asked after its discovery
Key = tuple[str, int, int]  # node, seq, received_ns: one inference of all there were


@dataclass
class Death:
    """A process that was killed."""

    node: str
    when_ns: int  # system time


class Witness:
    """Hears everything, from outside."""

    def __init__(self, ros: Ros) -> None:
        self.timings: set[Key] = set()
        self.residuals: Counter[int] = Counter()
        self.told_unheard: Counter[str] = Counter()  # nodes of which the recorder said that it does not hear them
        self.heard_s: dict[str, float] = {}  # of each node's heartbeat
        self.recorders_ns: dict[str, int] = {}  # when each process of the recorder was heard first (system time)
        self.actions, self.wild = 0, []  # type: ignore[var-annotated]
        create = ros.node.create_subscription
        create(DiagnosticArray, "inference/timing", self._on_timing, TIMING_QOS)
        create(DiagnosticStatus, "inference/status", self._on_status, STATUS_QOS)
        create(Float64MultiArray, "action", self._on_action, 100)

    def _on_timing(self, message: DiagnosticArray) -> None:
        self.timings |= {key_of(timing_record(status)) for status in message.status}

    def _on_status(self, message: DiagnosticStatus) -> None:
        if message.hardware_id == "second":
            return
        self.heard_s[message.name] = time.monotonic()
        if message.name == "recorder_node":
            self.recorders_ns.setdefault(message.hardware_id, time.time_ns())
            told = str(from_key_values(message.values)["unheard"]).split(", ")
            self.told_unheard.update(name.partition(" (")[0] for name in told if name)
        for key, value in from_key_values(message.values).items():
            if key.endswith(".residual"):
                self.residuals[int(value)] += 1  # type: ignore[arg-type]

    def _on_action(self, message: Float64MultiArray) -> None:
        self.actions += 1
        if len(message.data) != 2 or not all(abs(value) <= FASTEST_RAD_S + 1e-9 for value in message.data):
            self.wild.append(list(message.data))


class Second:
    """A publisher that nobody asked for, on the topics of the others."""

    def __init__(self, ros: Ros) -> None:
        self.on = False
        self._ros = ros
        create = ros.node.create_publisher
        self._images = create(Image, "camera/image_raw", qos_profile_sensor_data)
        self._joints = create(JointState, "joint_states", 10)
        self._forces = create(WrenchStamped, "force", qos_profile_sensor_data)
        self._beats = create(DiagnosticStatus, "inference/status", STATUS_QOS)
        ros.node.create_timer(0.05, self._send)

    def _send(self) -> None:
        if not self.on:
            return
        header = Header(stamp=self._ros.node.get_clock().now().to_msg(), frame_id="second")
        self._images.publish(
            Image(header=header, height=4, width=4, step=12, encoding="bgr8", data=array("B", bytes(48)))
        )
        self._joints.publish(
            JointState(header=header, name=["shoulder", "elbow"], position=[9.0, -9.0], velocity=[math.inf, math.nan])
        )
        self._forces.publish(WrenchStamped(header=header))
        values = [KeyValue(key="inferences", value="1e308"), KeyValue(key="engine", value="e")]
        self._beats.publish(DiagnosticStatus(name="policy_node", hardware_id="second", values=values))


class Chaos:
    """The robot, and what is done to it."""

    def __init__(self, ros: Ros, run: Process, disk: Path, mounted: bool, chance: random.Random) -> None:
        self.ros, self.run, self.disk, self.mounted, self.chance = ros, run, disk, mounted, chance
        self.other = Second(ros)
        self.deaths: list[Death] = []
        self.unlinked_ns: list[int] = []  # system time
        self.done: Counter[str] = Counter()
        self.shared: set[str] = set()  # names of all files in /dev/shm that a node has had
        self._killed_s: dict[str, float] = {}
        self._full_until_s: float | None = None

    def nodes(self) -> dict[str, psutil.Process]:
        """Return the processes that run, by the node's name."""
        found = {}
        for process in psutil.Process(self.run.pid).children():
            try:
                words = process.cmdline()
            except psutil.Error:
                continue
            for word in words:
                if word.startswith("__node:=") and process.status() != psutil.STATUS_ZOMBIE:
                    found[word.removeprefix("__node:=")] = process
        return found

    def spin(self, seconds: float) -> None:
        until_s = time.monotonic() + seconds
        self.ros.spin_until(lambda: time.monotonic() >= until_s, seconds + 1)
        if self._full_until_s is not None and time.monotonic() > self._full_until_s:
            self.empty()

    def act(self) -> None:
        """Do one thing, chosen at random."""
        kinds = ["kill"] * 5 + ["stop"] * 3 + ["unlink", "second"] + (["full"] if self.mounted else [])
        kind = self.chance.choice(kinds)
        if getattr(self, kind)():
            self.done[kind] += 1
        self._note_shared()

    def kill(self) -> bool:
        now_s = time.monotonic()
        rested = sorted(n for n in self.nodes() if now_s - self._killed_s.get(n, -math.inf) > REST_S)
        if not rested:
            return False
        name = self.chance.choice(rested)
        self._note_shared()
        self._killed_s[name] = now_s
        self.deaths.append(Death(name, time.time_ns()))
        self.nodes()[name].kill()
        return True

    def stop(self) -> bool:
        name = self.chance.choice(sorted(self.nodes()))
        process = self.nodes()[name]
        process.suspend()
        self.spin(self.chance.uniform(0.2, 4.0))
        process.resume()
        return True

    def full(self) -> bool:
        if self._full_until_s is not None:
            return False
        with open(self.disk / "ballast", "wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(1 << 16)):
                pass
        self._full_until_s = time.monotonic() + self.chance.uniform(1.0, 6.0)
        return True

    def empty(self) -> None:
        (self.disk / "ballast").unlink(missing_ok=True)
        self._full_until_s = None

    def unlink(self) -> bool:
        """Remove all but what is the witness' own, whose links would tell nothing afterwards."""
        own = {os.readlink(file).removesuffix("_el") for file in Path("/proc/self/fd").iterdir() if file.is_symlink()}
        for process in self.nodes().values():
            for file in mapped(process.pid):
                if str(file) not in own:
                    file.unlink(missing_ok=True)
        self.unlinked_ns.append(time.time_ns())
        return True

    def second(self) -> bool:
        self.other.on = True
        self.spin(self.chance.uniform(1.0, 5.0))
        self.other.on = False
        return True

    def calm(self, witness: Witness) -> bool:
        """Return whether all nodes are heard again; one that was cut off by the last removal is started again first."""
        self.spin(5.0)
        for name in sorted(set(NODES) - {"monitor_node"}):
            beats = name in BEATING
            silent_s = time.monotonic() - witness.heard_s.get(name, 0.0) if beats else math.inf
            removed = self.unlinked_ns and self.nodes()[name].create_time() * 1e9 < self.unlinked_ns[-1] + 2e9
            if silent_s > 3.0 and removed:
                print(f"{name} may be cut off: its shared memory was removed; it is killed")
                self.deaths.append(Death(name, time.time_ns()))
                self.nodes()[name].kill()
        asked_s = time.monotonic()
        heard = witness.heard_s
        return self.ros.spin_until(lambda: all(heard.get(name, 0.0) > asked_s for name in BEATING), 60)

    def _note_shared(self) -> None:
        for process in self.nodes().values():
            self.shared |= {file.name for file in mapped(process.pid)}


def mapped(pid: int | str) -> set[Path]:
    """Return the files in /dev/shm that a process has mapped."""
    try:
        lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    except OSError:  # it has gone
        return set()
    return {Path(line.split(maxsplit=5)[5].removesuffix(" (deleted)")) for line in lines if "/dev/shm/fastdds" in line}


def own_ports() -> set[str]:
    """Return the ports that this test sends to: its starter cannot remove them, and they stay when the test lets go."""
    return {file.name for file in mapped("self") if file.name.startswith("fastdds_port")}


def cut_off(node: str, at_ns: int, deaths: Sequence[Death], unlinked_ns: Sequence[int]) -> bool:
    """Return whether the recorder may not have heard this node, since their shared memory had been removed.

    Links that stand go on. A new one between a process from before the removal and one from after it cannot be made:
    the transport of neither looks again.
    """
    born_ns = [max((d.when_ns for d in deaths if d.node == one and d.when_ns < at_ns), default=0)
               for one in (node, "recorder_node")]  # fmt: skip
    return any(min(born_ns) < removed_ns <= at_ns for removed_ns in unlinked_ns)


def key_of(record: dict[str, Any]) -> Key:
    return record["node"], record["seq"], record["received_ns"]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[tuple[Path, bool]]:
    """A disk of the recording's own, and whether it is one: elsewhere it cannot be filled."""
    path = tmp_path / "disk"
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "none", str(path)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode != 0:
        print(f"chaos: no disk is filled, since none can be mounted here: {made.stderr.strip()}")
    yield path, made.returncode == 0
    if made.returncode == 0:
        subprocess.run(["umount", "-l", str(path)], check=True)


def between_recorders(node: str, at_ns: int, deaths: Sequence[Death], heard_ns: Sequence[int]) -> bool:
    """Return whether the node died before a new recorder could ask it for what the killed one had not saved."""
    for killed in (death.when_ns for death in deaths if death.node == "recorder_node"):
        back_ns = min((first_ns for first_ns in heard_ns if first_ns > killed), default=killed) + _ASKED_NS
        if killed - _SAVED_NS <= at_ns <= back_ns:
            return any(at_ns <= death.when_ns <= back_ns for death in deaths if death.node == node)
    return False


def check_recording(directory: Path, witness: Witness, deaths: list[Death], unlinked_ns: list[int]) -> None:
    """Check that each inference is recorded once, or counted as lost."""
    (path,) = directory.glob("performance_timings_*.jsonl")
    lines = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    recorded = Counter(map(key_of, lines))
    assert {key: count for key, count in recorded.items() if count > 1} == {}, "each once"
    missing = witness.timings - recorded.keys()
    survey = survey_timings(path)
    gaps = {node: sum(r.last - r.first + 1 for r in ranges) for node, ranges in survey.missing().items()}
    in_gaps: dict[str, list[int]] = defaultdict(list)
    unheard: dict[str, list[int]] = defaultdict(list)
    at_ends, orphans = Counter[str](), Counter[str]()
    spans: dict[str, list[int]] = defaultdict(list)
    for node, _, received_ns in recorded:
        spans[node].append(received_ns)
    for node, _, received_ns in missing:
        died = [death.when_ns for death in deaths if death.node == node and 0 <= death.when_ns - received_ns < 1e9]
        if cut_off(node, received_ns, deaths, unlinked_ns):
            unheard[node].append(received_ns)
        elif died and not any(received_ns < other <= max(died) for other in spans[node]):
            at_ends[node] += 1  # the last words of a process that was killed reached the witness alone
        elif between_recorders(node, received_ns, deaths, list(witness.recorders_ns.values())):
            orphans[node] += 1
        else:
            in_gaps[node].append(received_ns)
    lives = {node: len(found) for node, found in survey.lives.items()}
    print(f"{len(lines)} timings recorded, {len(witness.timings)} heard outside; processes of each node {lives}")
    print(f"gaps that the recording shows: {gaps}; heard outside and not recorded: {spread(in_gaps)} within them, "
          f"{dict(at_ends)} as the last words of killed processes, {dict(orphans)} of processes that died before a "
          f"killed recorder was back, and cut off by a removal of shared memory {spread(unheard)}, of which the "
          f"recorder said that it does not hear them: {dict(witness.told_unheard)}")  # fmt: skip
    for node, keys in in_gaps.items():
        near = [f"{d.node} {(d.when_ns - min(keys)) / 1e9:+.1f} s" for d in deaths if abs(d.when_ns - min(keys)) < 30e9]
        print(f"  of {node} from the first on: killed {', '.join(near)}; shared memory removed "
              f"{[round((at_ns - min(keys)) / 1e9, 1) for at_ns in unlinked_ns]} s")  # fmt: skip
    silent = {node for node, keys in unheard.items() if max(keys) - min(keys) > 20e9}
    told = witness.told_unheard.keys()
    assert silent <= told or "a node of unknown name" in told, "what is not heard is told"
    assert sum(map(len, in_gaps.values())) <= sum(gaps.values()), "what is not there is counted"
    check_topics(directory)


def spread(keys: Mapping[str, Sequence[int]]) -> str:
    """Return how many there are of each node, and over how long."""
    return ", ".join(f"{n} {len(k)} within {(max(k) - min(k)) / 1e9:.1f} s" for n, k in keys.items()) or "none"


def check_topics(directory: Path) -> None:
    """Check that each file of topics holds whole lines, and each number once or as dropped."""
    records = dropped = torn = 0
    for path in sorted(directory.glob("topics_*.jsonl")):
        seqs, said = [], 0
        for line in path.read_bytes().splitlines(True):
            try:
                unsealed(line)
            except LineError:
                torn += 1
                continue
            record = orjson.loads(line)
            if "record" not in record:
                seqs.append(record["seq"])
            elif record["record"] == "drops":
                said += record["count"]
        assert len(set(seqs)) == len(seqs), f"{path}: each once"
        gone = (max(seqs) - min(seqs) + 1 - len(seqs)) if seqs else 0
        assert gone <= said, f"{path}: {gone} are not there, {said} are counted as dropped"
        records, dropped = records + len(seqs), dropped + said
    print(f"{records} messages in {len(list(directory.glob('topics_*.jsonl')))} files, {dropped} counted as dropped, "
          f"{torn} torn by a kill")  # fmt: skip


@pytest.mark.long
def test_chaos_loses_nothing_that_is_not_counted(
    ros: Ros, start_command: Callable[..., Process], tmp_path: Path, disk: tuple[Path, bool], domain: int
) -> None:
    print(f"\nchaos: {CHAOS_S:g} s, PERF_INFERENCE_CHAOS_SEED={SEED}", flush=True)
    witness = Witness(ros)
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    run = start_command(
        "run", "--sim", "--set", f"recorder_node.output_dir={disk[0]}", "--set", "recorder_node.min_free_bytes=0",
        env={"TMPDIR": str(temporary)},
    )  # fmt: skip
    assert ros.spin_until(lambda: witness.actions > 10, 60), run.output()
    chaos = Chaos(ros, run, *disk, random.Random(SEED))
    assert set(chaos.nodes()) == set(NODES)
    began_s = time.monotonic()
    while time.monotonic() - began_s < CHAOS_S:
        chaos.act()
        chaos.spin(chaos.chance.uniform(1.0, 8.0))
        assert run.alive, run.output()
    chaos.empty()
    calm = chaos.calm(witness)
    held = own_ports()
    run.send(signal.SIGINT)
    assert ros.spin_until(lambda: not run.alive, 30), run.output()
    held |= own_ports()
    assert run.wait() == 0, run.output()
    said = run.output()[run.output().rindex("SIGINT: stopping") :]
    print(f"{dict(chaos.done)}; killed {dict(Counter(death.node for death in chaos.deaths))}\n{said}", flush=True)
    assert calm, f"not all nodes came back: {witness.heard_s}"
    assert "given up" not in run.output()
    killed = Counter(death.node for death in chaos.deaths)
    for node, count in killed.items():
        assert f"{node} was restarted " in said, f"killed {count} times"
    assert set(witness.residuals) == {0}
    assert witness.wild == [], f"of {witness.actions} actions"
    print(f"{witness.actions} actions within {FASTEST_RAD_S} rad/s; {sum(witness.residuals.values())} residuals, all 0")
    (directory,) = (path for path in disk[0].iterdir() if path.is_dir())
    check_recording(directory, witness, chaos.deaths, chaos.unlinked_ns)
    assert not [p for p in psutil.process_iter(["environ"]) if of_domain(p, domain)], "nothing left running"
    shared = {name for name in chaos.shared if is_of(name, domain)}
    left = {one.name for one in shared_memory.leftovers() if one.name in shared}
    print(f"left in {shared_memory.SHM}: {sorted(left)}")
    assert left <= held, f"nothing left in {shared_memory.SHM}"
    gone = sum(not (shared_memory.SHM / name).exists() for name in shared)
    print(
        f"{len(shared)} files in {shared_memory.SHM} were the nodes'; {gone} are gone, this test still holds the others"
    )
    assert list(temporary.iterdir()) == [], "nothing left in the folder for temporary files"


def is_of(name: str, domain: int) -> bool:
    """Return whether no other domain has this file: a segment, or a port of the domain's own."""
    port = re.fullmatch(r"fastdds_port(\d+)", name)
    return port is None or 0 <= int(port[1]) - 7400 - 250 * domain < 250  # DDSI-RTPS 9.6.1.1


def of_domain(process: psutil.Process, domain: int) -> bool:
    mine = (process.info["environ"] or {}).get("ROS_DOMAIN_ID") == str(domain)
    return mine and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE
