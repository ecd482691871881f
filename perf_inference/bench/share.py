"""A detector node's own share of the latency: `python -m perf_inference.bench.share`.

A camera process sends a 640x480 image of the demo at 30 Hz. A frame's share is the time from its stamp, taken just
before the camera publishes it, to the end of the node's publishing of its detections, less the engine's time: it holds
the camera's sending and the transport too. Beside `yolo_node` runs a plain rclpy node (`nodes/bench/plain_detector.py`)
with the same model, threads and answers. The setups take turns, round after round, each with fresh processes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from perf_inference.bench.results.outputs import add_example
from perf_inference.bench.results.printed import keep, standalone, tell
from perf_inference.bringup import tuning
from perf_inference.bringup.child_process import tied
from perf_inference.bringup.domain import free_domain
from perf_inference.demo.scenes import Item, Scene, render
from perf_inference.errors import ConfigError, PerfInferenceError
from perf_inference.measure.statistics import Distribution
from perf_inference.quantities import above_zero, positive

LIMIT_MS = 3.0  # of the tuned node's share at p50
WARM_UP = 30  # frames of each round that count only as received or lost
_HERE = Path(tuning.__file__).parents[1]
_PEERS = _HERE / "nodes" / "bench"
_READY_S, _SETTLE_S, _STOP_S = 20.0, 3.0, 5.0
_PARTS = ("transport", "queue", "decode", "preprocess", "infer", "postprocess", "publish")
_SETTINGS = ("FASTDDS_BUILTIN_TRANSPORTS", "FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE",
             *tuning.ALLOCATOR, *tuning.PAGES, tuning.TUNING)  # fmt: skip
SCENE = Scene(
    (
        Item("circle", "red", 200, 240, 48.0),
        Item("square", "blue", 460, 250, 37.0),
        Item("star", "green", 330, 120, 28.5),
    ),
    seed=5,
)


@dataclass(frozen=True)
class Setup:
    """Who detects, and with which settings on both sides."""

    name: str
    plain: bool
    tuned: bool
    reliable: bool


SETUPS = (
    Setup("yolo_node, tuned, best effort", plain=False, tuned=True, reliable=False),
    Setup("plain node, stock, reliable", plain=True, tuned=False, reliable=True),
    Setup("plain node, tuned, best effort", plain=True, tuned=True, reliable=False),
    Setup("plain node, stock, best effort", plain=True, tuned=False, reliable=False),
)


@dataclass
class Outcome:
    """All rounds of one setup; raw values are kept."""

    sent: int = 0
    answered: int = 0
    parts_ms: list[Mapping[str, float]] = field(default_factory=list)  # of the frames after the warm-up
    names: set[tuple[str, ...]] = field(default_factory=set)  # of what was seen, frame by frame
    boxes_px: list[list[tuple[float, ...]]] = field(default_factory=list)  # x, y, width, height of each

    @property
    def share_ms(self) -> list[float]:
        return [sum(parts.values()) - parts["infer"] for parts in self.parts_ms]

    @property
    def lost_pct(self) -> float:
        return 100.0 * (self.sent - self.answered) / self.sent if self.sent else 0.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's arguments."""
    add_example(
        parser,
        "perf-inference bench share --html share.html",
        "perf-inference bench share --setup yolo_node --rounds 1 --rate 60",
    )
    parser.add_argument("--rounds", type=positive, default=3, help="rounds of all setups, in turn (default: 3)")
    parser.add_argument("--frames", type=positive, default=300, help="frames of each round of a setup (default: 300)")
    parser.add_argument("--rate", type=above_zero, default=30.0, help="of the camera [Hz] (default: 30)")
    parser.add_argument("--threads", type=positive, default=1, help="threads of one inference (default: 1)")
    parser.add_argument("--setup", default="", help="only setups whose name contains this")


def run(options: argparse.Namespace) -> int:
    """Run all rounds and print the table; 0 where the node's share is under the limit at p50."""
    setups = [setup for setup in SETUPS if options.setup in setup.name]
    if not setups:
        raise ConfigError(f"--setup must be part of one of {', '.join(s.name for s in SETUPS)}; got '{options.setup}'")
    if options.frames <= WARM_UP:
        raise ConfigError(f"--frames must be more than the {WARM_UP} of the warm-up, got {options.frames}")
    outcomes = {setup.name: Outcome() for setup in setups}
    loads = [os.getloadavg()[0]]
    with TemporaryDirectory() as folder:
        image = Path(folder) / "image.npy"
        np.save(image, render(SCENE))
        for _ in range(options.rounds):
            for setup in setups:
                one_round(setup, image, outcomes[setup.name], options)
                loads.append(os.getloadavg()[0])
    print_table(outcomes, loads, options)
    tell(figures={name: figures(outcome) for name, outcome in outcomes.items()})
    share = percentiles(outcomes[setups[0].name].share_ms)["p50"]
    if setups[0].plain or share is None:
        return 0
    print(
        f"share of {setups[0].name} at p50: {share:.2f} ms ({'under' if share < LIMIT_MS else 'OVER'} {LIMIT_MS:g} ms)"
    )
    return int(share >= LIMIT_MS)


def one_round(setup: Setup, image: Path, outcome: Outcome, options: argparse.Namespace) -> None:
    """Start detector and camera in a domain of their own, and take what comes of it."""
    from perf_inference.nodes.bench.share_collector import ShareCollector

    domain = free_domain()
    environ = {**settings(setup.tuned), "ROS_DOMAIN_ID": str(domain), "PYTHONSAFEPATH": "1"}
    said = image.with_suffix(".json")
    collector = ShareCollector(domain)
    processes = [subprocess.Popen(tied(detector_command(setup, options)), env=environ, stdout=subprocess.DEVNULL)]
    try:
        heard = collector.spin_until(lambda: collector.hears() or processes[0].poll() is not None, _READY_S)
        with said.open("w") as file:
            processes.append(
                subprocess.Popen(tied(camera_command(setup, image, options)), env=environ, stdout=file)
            )  # fmt: skip
        ended = collector.spin_until(lambda: processes[1].poll() is not None, _READY_S + options.frames / options.rate)
        if not (heard and ended) or processes[1].returncode or processes[0].poll() is not None:
            raise PerfInferenceError(f"camera or detector of '{setup.name}' did not end well; what they said is above")
        stamps = json.loads(said.read_text())
        collector.spin_until(lambda: len(collector.parts_ms) >= len(stamps), _SETTLE_S)
    finally:
        for process in processes:
            _end(process)
        collector.close()
    outcome.sent += len(stamps)
    outcome.answered += sum(stamp in collector.parts_ms for stamp in stamps)
    outcome.parts_ms += [collector.parts_ms[s] for s in stamps[WARM_UP:] if s in collector.parts_ms]
    outcome.names |= {tuple(name for name, *_ in seen) for seen in collector.objects.values()}
    outcome.boxes_px += [[tuple(box) for _, *box in seen] for seen in collector.objects.values()]


def _end(process: subprocess.Popen[Any]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def detector_command(setup: Setup, options: argparse.Namespace) -> list[str]:
    """Return the command line of our node or of the plain one."""
    if setup.plain:
        command = [sys.executable, str(_PEERS / "plain_detector.py"), str(_HERE / "models" / "detector.onnx"),
                   "--threads", str(options.threads)]  # fmt: skip
        return [*command, "--reliable"] if setup.reliable else command
    return [sys.executable, "-m", "perf_inference.nodes.yolo_node", "--ros-args", "-p", "class_agnostic:=true", "-p",
            f"threads:={options.threads}", "-p", f"expected_frequency:={options.rate}"]  # fmt: skip


def camera_command(setup: Setup, image: Path, options: argparse.Namespace) -> list[str]:
    """Return the command line of the camera."""
    command = [sys.executable, str(_PEERS / "camera.py"), str(image), "--rate", str(options.rate),
               "--frames", str(options.frames)]  # fmt: skip
    return [*command, "--reliable"] if setup.reliable else command


def settings(tuned: bool) -> dict[str, str]:
    """Return this process' environment with the stock transport and allocator, or with the package's."""
    stock = {name: value for name, value in os.environ.items() if name not in _SETTINGS}
    if tuned:
        return tuning.tuned(stock)
    tuning.switch_off(stock)
    return stock


def percentiles(values_ms: Sequence[float]) -> dict[str, float | None]:
    """Return p50, p90, p99 and max [ms]; None where there are too few samples."""
    return Distribution.of(round(v * 1e6) for v in values_ms).summary_ms()


def figures(outcome: Outcome) -> dict[str, Any]:
    """Return what is known of a setup."""
    parts = {part: percentiles([p[part] for p in outcome.parts_ms])["p50"] for part in _PARTS}
    return {
        "sent": outcome.sent,
        "answered": outcome.answered,
        "lost_pct": round(outcome.lost_pct, 2),
        "share_ms": percentiles(outcome.share_ms),
        "parts_p50_ms": parts,
    }


def print_table(outcomes: Mapping[str, Outcome], loads: Sequence[float], options: argparse.Namespace) -> None:
    """Print share and parts of all setups."""
    print(f"640x480 bgr8 at {options.rate:g} Hz, embedded detector with {options.threads} thread(s), {options.rounds} "
          f"rounds of {options.frames} frames, the first {WARM_UP} of each left out of the times; {os.cpu_count()} "
          f"cores, load {min(loads):.2f} to {max(loads):.2f}")  # fmt: skip
    print("share [ms]: image stamp to the end of publishing the detections, less the engine's time")
    print(f"{'':<34}{'n':>6}{'lost %':>8}{'p50':>8}{'p90':>8}{'p99':>8}{'max':>8}")
    for name, outcome in outcomes.items():
        keep(name, outcome.share_ms)
        share = percentiles(outcome.share_ms)
        cells = "".join(f"{_number(share[key]):>8}" for key in ("p50", "p90", "p99", "max"))
        print(f"{name:<34}{len(outcome.parts_ms):>6}{outcome.lost_pct:>8.1f}{cells}")
    print("parts at p50 [ms] (transport: from the stamp to the callback, the camera's publish() in it)")
    print(f"{'':<34}" + "".join(f"{part:>12}" for part in _PARTS))
    for name, outcome in outcomes.items():
        if outcome.parts_ms:
            print(f"{name:<34}" + "".join(f"{_number(p):>12}" for p in figures(outcome)["parts_p50_ms"].values()))
    print(f"answers: {_agreement(outcomes.values())}")


def _agreement(outcomes: Collection[Outcome]) -> str:
    names = set().union(*(outcome.names for outcome in outcomes))
    if len(names) != 1:
        return f"{len(names)} different sets of objects"
    boxes = np.array([boxes for outcome in outcomes for boxes in outcome.boxes_px])
    return f"the same objects in all ({', '.join(*names)}), boxes at most {np.ptp(boxes, axis=0).max():.1f} px apart"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line."""
    return standalone("share", add_arguments, run, arguments, __doc__)


if __name__ == "__main__":
    sys.exit(main())
