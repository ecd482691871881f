"""A detector node's own share of the latency: `perf-inference bench share`.

A camera process sends an image of the demo at 30 Hz. A frame's share is the time from its stamp, taken just
before the camera publishes it, to the end of the node's publishing of its detections, less the engine's time: it holds
the camera's sending and the transport too. Beside `yolo_node` runs a plain rclpy node (`nodes/bench/plain_detector.py`)
with the same model, threads and answers. The setups take turns, round after round, each with fresh processes.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np

from perf_inference.bench.results.outputs import add_example
from perf_inference.bench.results.printed import keep, standalone, tell
from perf_inference.bench.share.outcome import PARTS, Outcome, percentiles, ratio
from perf_inference.bench.share.rounds import WARM_UP, Setup, one_round
from perf_inference.demo.scenes import Item, Scene, render
from perf_inference.errors import ConfigError
from perf_inference.quantities import above_zero, positive

LIMIT_MS = 3.0  # of the tuned node's share at p50
SCENE = Scene(
    (
        Item("circle", "red", 200, 240, 48.0),
        Item("square", "blue", 460, 250, 37.0),
        Item("star", "green", 330, 120, 28.5),
    ),
    seed=5,
)
SETUPS = (
    Setup("yolo_node, tuned, best effort", plain=False, tuned=True, reliable=False),
    Setup("plain node, stock, reliable", plain=True, tuned=False, reliable=True),
    Setup("plain node, tuned, best effort", plain=True, tuned=True, reliable=False),
    Setup("plain node, stock, best effort", plain=True, tuned=False, reliable=False),
)
SIZES = ("640x480", "1280x720", "1920x1080")  # of the images; the larger ones only of the tuned setups


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's arguments."""
    add_example(
        parser,
        "perf-inference bench share --html share.html",
        "perf-inference bench share --setup tuned --sizes 640x480 --rounds 10",
    )
    parser.add_argument("--rounds", type=positive, default=3, help="rounds of all setups, in turn (default: 3)")
    parser.add_argument("--frames", type=positive, default=300, help="frames of each round of a setup (default: 300)")
    parser.add_argument("--rate", type=above_zero, default=30.0, help="of the camera [Hz] (default: 30)")
    parser.add_argument("--threads", type=positive, default=1, help="threads of one inference (default: 1)")
    parser.add_argument("--setup", default="", help="only setups whose name contains this")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES),
                        help=f"of the images (default: {' '.join(SIZES)})")  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Run all rounds and print the tables; 0 where the node's share is under the limit at p50, of the first size."""
    setups = [setup for setup in SETUPS if options.setup in setup.name]
    if not setups:
        raise ConfigError(f"--setup must be part of one of {', '.join(s.name for s in SETUPS)}; got '{options.setup}'")
    if options.frames <= WARM_UP:
        raise ConfigError(f"--frames must be more than the {WARM_UP} of the warm-up, got {options.frames}")
    cases = {(size, setup.name): setup for size in options.sizes for setup in setups
             if setup.tuned or size == SIZES[0]}  # fmt: skip
    outcomes = {case: Outcome() for case in cases}
    loads = [os.getloadavg()[0]]
    with TemporaryDirectory() as folder:
        images = {size: _image(Path(folder), size) for size in options.sizes}
        for _ in range(options.rounds):
            for case, setup in cases.items():
                one_round(setup, images[case[0]], outcomes[case], options)
                loads.append(os.getloadavg()[0])
    for size in options.sizes:
        print_tables(size, {name: outcome for (of, name), outcome in outcomes.items() if of == size}, options)
    print(f"{os.cpu_count()} cores, load {min(loads):.2f} to {max(loads):.2f}")
    tell(figures={f"{name}, {size}": outcome.figures() for (size, name), outcome in outcomes.items()})
    first = (options.sizes[0], setups[0].name)
    share = percentiles(outcomes[first].share_ms)["p50"] if first in outcomes else None
    if setups[0].plain or share is None:
        return 0
    print(
        f"share of {setups[0].name} at p50: {share:.2f} ms ({'under' if share < LIMIT_MS else 'OVER'} {LIMIT_MS:g} ms)"
    )
    return int(share >= LIMIT_MS)


def _image(folder: Path, size: str) -> Path:
    width, height = map(int, size.split("x"))
    file = folder / f"{size}.npy"
    np.save(file, cv2.resize(render(SCENE), (width, height), interpolation=cv2.INTER_LINEAR))
    return file


def print_tables(size: str, outcomes: Mapping[str, Outcome], options: argparse.Namespace) -> None:
    """Print share, parts and cost of all setups with images of one size, and the node's share over the plain node's."""
    print(f"{size} bgr8 at {options.rate:g} Hz, embedded detector with {options.threads} thread(s), {options.rounds} "
          f"rounds of {options.frames} frames, the first {WARM_UP} of each left out of the times")  # fmt: skip
    print("share [ms]: image stamp to the end of publishing the detections, less the engine's time")
    print(f"{'':<34}{'n':>6}{'lost %':>8}{'p50':>8}{'p90':>8}{'p99':>8}{'max':>8}")
    for name, outcome in outcomes.items():
        keep(f"{name}, {size}", outcome.share_ms)
        share = percentiles(outcome.share_ms)
        cells = "".join(f"{_number(share[key]):>8}" for key in ("p50", "p90", "p99", "max"))
        print(f"{name:<34}{len(outcome.parts_ms):>6}{outcome.lost_pct:>8.1f}{cells}")
    print("parts at p50 [ms] (transport: from the stamp to the reader, the camera's publish() in it; of the plain node "
          "to its callback)")  # fmt: skip
    print(f"{'':<34}" + "".join(f"{part:>12}" for part in PARTS))
    for name, outcome in outcomes.items():
        if outcome.parts_ms:
            parts = [percentiles([each[part] for each in outcome.parts_ms])["p50"] for part in PARTS]
            print(f"{name:<34}" + "".join(f"{_number(part):>12}" for part in parts))
    print("cost, medians of the rounds: processor time per frame [ms of a core], memory of the detector [MB]")
    print(f"{'':<34}{'detector':>12}{'camera':>12}{'PSS':>12}{'USS':>12}")
    for name, outcome in outcomes.items():
        if cost := outcome.cost():
            print(f"{name:<34}" + "".join(f"{_number(value):>12}" for value in cost))
    ours, theirs = (outcomes.get(SETUPS[at].name, Outcome()) for at in (0, 2))
    for percent in (50, 99):
        if found := ratio(ours, theirs, percent):
            print(f"share of yolo_node over the plain, tuned node's at p{percent}: {found.value:.3f} "
                  f"(95 % interval over {found.rounds} rounds {found.low:.3f} to {found.high:.3f})")  # fmt: skip
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
