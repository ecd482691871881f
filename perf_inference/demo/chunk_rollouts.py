"""Does the chunk policy bridge delays? The simulated robot without ROS, on a clock of its own.

    python -m perf_inference.demo.chunk_rollouts --episodes 50 [--delays 0 150 300 random] [--merge align] [--sync]

The same observer, binding, player and limits as in the node; the arm follows positions. `--table` plays all merges,
synchronous and asynchronous, and prints the share of the pucks that each reaches.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from perf_inference import engines
from perf_inference.demo.arm import JOINT_NAMES, Arm, PositionDrive, Vector, tip
from perf_inference.demo.evaluate import FRAME_S, PICTURE_DELAY_S, SAMPLE_S
from perf_inference.demo.world import EPISODE_S, Camera, Episode, Judge, World
from perf_inference.engines import MODELS, Engine, Options
from perf_inference.errors import ConfigError, InputError
from perf_inference.tasks.policy.binding import Binding
from perf_inference.tasks.policy.chunks.commands import Base
from perf_inference.tasks.policy.chunks.delays import Delays
from perf_inference.tasks.policy.chunks.limiter import Limiter
from perf_inference.tasks.policy.chunks.player import Ask, Player, PlayerSettings
from perf_inference.tasks.policy.contract.contract import MERGES
from perf_inference.tasks.policy.contract.parse import contract_of_metadata
from perf_inference.tasks.policy.observing.observer import Context, Observer

MODEL = MODELS / "chunk_policy.onnx"
RANDOM_S = (0.05, 0.5)
_NS = 1_000_000_000
Floats = NDArray[np.float64]


@dataclass
class Seams:
    """How much the commanded velocity [rad/s] changes from one step to the next."""

    within: list[float] = field(default_factory=list)
    at: list[float] = field(default_factory=list)  # where one chunk takes over from another
    skipped_from_standstill: int = 0

    @property
    def ratio(self) -> float:
        """The largest change at a seam, in 99th percentiles of those within chunks."""
        return float(max(self.at, default=0.0) / np.percentile(self.within, 99)) if self.within else 0.0


class Run:
    """Episodes in a row with one model; `episode` returns when the puck was reached [s], or None."""

    def __init__(self, engine: Engine, world: World, delay_s: tuple[float, float], merge: str, sync: bool) -> None:
        """Begin.

        Args:
            delay_s: of an inference, evenly between the two.

        Raises:
            ConfigError: the model carries no contract.
        """
        contract = contract_of_metadata(engine.info.metadata, engine.info.name)
        if contract is None or contract.rate_hz is None:
            raise ConfigError(f"'{engine.info.name}' must carry a contract with a rate_hz in its metadata")
        self._engine, self._world, self._delay_s = engine, world, delay_s
        self._rng = np.random.default_rng((world.seed, 2))
        binding = self._binding = Binding(contract, engine.inputs, engine.outputs, engine.info)
        self._contract, self._step_s = contract, 1 / contract.rate_hz
        self._observer = Observer(contract, binding.prepare, 0, 10 * _NS, binding.commands.width, binding.widths)
        self._limiter = Limiter(contract.actions, self._step_s)
        settings = PlayerSettings(
            self._step_s, binding.commands.aligns, binding.commands.rates, merge, contract.align_fade_s,
            contract.margin, sync, binding.conditioned,
        )  # fmt: skip
        self.player = Player(settings, Delays(self._step_s, sum(delay_s) / 2))
        self.seams = Seams()
        self._pending: tuple[Ask, Any, float] | None = None
        self._offset_s = 0.0  # of this episode in the whole run
        self._stood = True  # when the question was asked
        self._raw: Floats | None = None

    def episode(self, index: int) -> float | None:
        """Play episode `index` until the puck is reached, or to its end."""
        episode = self._world.episode(index)
        self._camera, self._judge = Camera(episode), Judge(episode)
        arm = Arm(position_rad=episode.start_position_rad)
        arm.advance(0.0)
        drive = PositionDrive(arm)
        self.player.reset(arm.position_rad)
        self._limiter.reset()
        self._pending = None  # its answer would be dropped: it is of another epoch
        self._sent: list[Floats] = []
        self._joined_at: int | None = None
        self._image_due: list[tuple[float, float, Vector]] = []  # arrives, shutter, pose
        steps, took_s = round(self._step_s / SAMPLE_S), None
        for k in range(round(EPISODE_S / SAMPLE_S) + 1):
            now_s = k * SAMPLE_S
            drive.advance(now_s)
            self._sense(arm, episode, now_s, k)
            if self._judge.update(now_s, tip(arm.position_rad)):
                took_s = now_s
                break
            if k % steps == 0:
                self._tick(drive, now_s)
        self._offset_s += 10.0
        return took_s

    def _stamp(self, t_s: float) -> int:
        return round((self._offset_s + t_s) * _NS)

    def _sense(self, arm: Arm, episode: Episode, now_s: float, k: int) -> None:
        message = {"name": JOINT_NAMES, "position": arm.position_rad, "velocity": arm.velocity_rad_s}
        shutter = int(now_s / FRAME_S + 1e-9) != int((now_s - SAMPLE_S) / FRAME_S + 1e-9) or k == 0
        if shutter:
            due_s = 0.0 if k == 0 else now_s + self._rng.uniform(*PICTURE_DELAY_S)
            self._image_due.append((due_s, now_s, arm.position_rad.copy()))
        arrived = [entry for entry in self._image_due if entry[0] <= now_s]
        self._image_due = [entry for entry in self._image_due if entry[0] > now_s]
        for place, series in self._observer.series.items():
            if not series.term.is_image:
                self._observer.add(place, self._stamp(now_s), message)
                continue
            for _, shutter_s, pose in arrived:
                camera = self._camera
                self._observer.add(place, self._stamp(shutter_s), lambda c=camera, t=shutter_s, p=pose: c.image(t, p))

    def _tick(self, drive: PositionDrive, now_s: float) -> None:
        player = self.player
        if self._pending is not None and self._pending[2] <= now_s + 1e-9:
            ask, chunk, due_s = self._pending
            self._pending = None
            seam = player.answer(ask, chunk, self._stamp(due_s))
            if not seam.dropped and self._stood:
                self.seams.skipped_from_standstill += seam.delay_steps
            elif not seam.dropped:
                self._joined_at = len(self._sent) + seam.frozen_steps
        if self._pending is None and (ask_ := player.ask(self._stamp(now_s))) is not None:
            self._stood = not player.left
            self._pending = (ask_, self._infer(ask_, now_s), now_s + self._rng.uniform(*self._delay_s))
        if self._pending is not None and self._pending[2] <= now_s:  # no delay at all
            self._tick(drive, now_s)
            return
        if (step := player.step()) is None:
            return
        values = self._limiter.apply(step.values)
        self._limiter.sent(values)
        player.sent(values)
        self._sent.append(values)
        self._judge_smoothness(step.cause)
        drive.goal(values, step.rates, now_s)

    def _infer(self, ask: Ask, now_s: float) -> Floats | None:
        commands = self._binding.commands
        try:
            seen = self._observer.look(self._stamp(now_s), Context(self._raw, self.player.last))
            outputs = self._engine.infer(self._binding.inputs(seen, ask.prefix, ask.delay_steps))
            raw = commands.raw(outputs)
            self._raw = raw[0]
            return commands.published(raw, Base(seen.measured, self.player.last))
        except InputError:
            return None

    def _judge_smoothness(self, cause: str) -> None:
        if len(self._sent) < 3 or cause:
            return
        a, b, c = self._sent[-3:]
        change = float(np.max(np.abs((c - b) - (b - a)))) / self._step_s
        last = len(self._sent) - 1
        if self._joined_at is not None and self._joined_at <= last <= self._joined_at + 1:
            self.seams.at.append(change)
        elif last > 4:  # the first steps begin at rest
            self.seams.within.append(change)


def reached(engine: Engine, episodes: int, delay_s: tuple[float, float], merge: str = "align", sync: bool = False,
            seed: int = 2000) -> tuple[int, Run]:  # fmt: skip
    """Return how many pucks of so many the policy reaches, and the run."""
    run = Run(engine, World(seed), delay_s, merge, sync)
    return sum(run.episode(index) is not None for index in range(episodes)), run


def _delay(text: str) -> tuple[float, float]:
    return RANDOM_S if text == "random" else (float(text) / 1e3, float(text) / 1e3)


def _table(engine: Engine, episodes: int, delays: list[str]) -> None:
    print(f"share of {episodes} pucks reached, by delay [ms]")
    print("".join(["execution".ljust(12), "merge".ljust(10), *(text.rjust(8) for text in delays)]))
    for sync, merges in ((True, ("align",)), (False, MERGES)):
        for merge in merges:
            shares = [reached(engine, episodes, _delay(text), merge, sync)[0] / episodes for text in delays]
            cells = "".join(f"{share:8.2f}" for share in shares)
            print(("sync" if sync else "async").ljust(12) + merge.ljust(10) + cells, flush=True)


def main() -> None:
    """Print the share of pucks reached."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--episodes", type=int, default=50)
    parser.add_argument("--delays", nargs="+", default=["0", "150", "300", "500", "random"], help="[ms], or random")
    parser.add_argument("--merge", choices=MERGES, default="align")
    parser.add_argument("--sync", action="store_true")
    parser.add_argument("--table", action="store_true")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    engine = engines.load(str(args.model), options=Options(threads=1))
    if args.table:
        _table(engine, args.episodes, args.delays)
        return
    for text in args.delays:
        count, run = reached(engine, args.episodes, _delay(text), args.merge, args.sync)
        seams, counts = run.seams, run.player.counts
        print(f"{text} ms: reached {count} of {args.episodes}; {counts.played} chunks, {counts.starved} starved, "
              f"{counts.late} late; velocity at seams {seams.ratio:.2f} of the 99th percentile within chunks, "
              f"{seams.skipped_from_standstill} steps skipped from standstill", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
