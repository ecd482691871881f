"""Does the policy close the loop? The simulated robot without ROS, in simulated time.

    python -m perf_inference.demo.evaluate --episodes 100 --seed 1000 [--freeze camera|joints] [--zero-actions]

A camera takes images at 30 Hz, joints and force are sampled at 100 Hz, and the policy acts at 10 Hz on what has
arrived by then; its action reaches the arm some time later. All the delays are drawn from the seed. Episodes
follow each other as on the robot: the arm jumps to its next start, and the windows go on.
"""

from __future__ import annotations

import argparse
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from perf_inference import engines
from perf_inference.demo.arm import Arm, Vector, tip
from perf_inference.demo.scenes import Image
from perf_inference.demo.world import EPISODE_S, Camera, Episode, Judge, World, contact_force
from perf_inference.engines import Engine, Options

MODEL = Path(__file__).parents[1] / "models" / "policy.onnx"
SAMPLE_S = 0.01
SAMPLES_PER_TICK = 10
FRAME_S = 1 / 30
WINDOW = 65
IMAGE_PX = (128, 96)  # width, height of what the policy sees
PICTURE_DELAY_S = (0.02, 0.06)  # from the shutter to the policy; up to FRAME_S of waiting comes on top
ACTION_DELAY_S = (0.02, 0.04)  # from the tick to the arm
FORCE_NOISE_N = 0.05

Floats = NDArray[np.float32]
Policy = Callable[[Floats, Floats, Image], Vector]  # force [1, 65, 6], joints [1, 65, 4], image [1, 96, 128, 3]


@dataclass(frozen=True)
class Freeze:
    """Which input stands still, and since when: "run" is the first one of all, "episode" of each episode."""

    what: str = "none"
    since: str = "episode"


def engine_policy(engine: Engine) -> Policy:
    """Return the model as a function."""

    def act(force: Floats, joints: Floats, image: Image) -> Vector:
        outputs = engine.infer({"force": force, "joints": joints, "image": image})
        return np.asarray(outputs["action"][0], dtype=np.float64)

    return act


def reached(engine: Engine, episodes: int, seed: int = 1000) -> float:
    """Return the share [0, 1] of the pucks that the policy reaches."""
    run = Run(World(seed), engine_policy(engine))
    return sum(run.episode(index) is not None for index in range(episodes)) / episodes


def no_action(force: Floats, joints: Floats, image: Image) -> Vector:
    """Return zero velocities: the share that needs no policy at all."""
    return np.zeros(2)


class Run:
    """Episodes in a row with one policy; `episode` returns when the puck was reached [s], or None."""

    def __init__(self, world: World, policy: Policy, freeze: Freeze = Freeze()) -> None:
        self._world = world
        self._policy = policy
        self._freeze = freeze
        self._rng = np.random.default_rng((world.seed, 1))
        self._joints: deque[Vector] = deque(maxlen=WINDOW)
        self._force: deque[Vector] = deque(maxlen=WINDOW)
        self._frozen_image: Image | None = None
        self._frozen_joints: Floats | None = None

    def episode(self, index: int) -> float | None:
        """Play episode `index` until the puck is reached, or to its end."""
        episode = self._world.episode(index)
        camera, judge = Camera(episode), Judge(episode)
        arm = Arm(position_rad=episode.start_position_rad)
        arm.advance(0.0)
        if self._freeze.since == "episode":
            self._frozen_image = self._frozen_joints = None
        due_s, action = np.inf, np.zeros(2)
        for k in range(round(EPISODE_S / SAMPLE_S) + 1):
            now_s = k * SAMPLE_S
            if due_s <= now_s:
                arm.command(action, due_s)
                due_s = np.inf
            arm.advance(now_s)
            self._sample(arm, episode, now_s)
            if judge.update(now_s, tip(arm.position_rad)):
                return now_s
            if k % SAMPLES_PER_TICK == 0:
                action = self._act(camera, now_s)
                due_s = now_s + self._rng.uniform(*ACTION_DELAY_S)
        return None

    def _sample(self, arm: Arm, episode: Episode, now_s: float) -> None:
        push = np.array(contact_force(tip(arm.position_rad), episode.target_at(now_s)))
        wrench = np.concatenate([push + self._rng.normal(0, FORCE_NOISE_N, size=3), np.zeros(3)])
        count = 1 if self._joints else WINDOW  # the very first sample fills the window
        self._joints.extend([np.concatenate([arm.position_rad, arm.velocity_rad_s])] * count)
        self._force.extend([wrench] * count)

    def _act(self, camera: Camera, now_s: float) -> Vector:
        joints = np.array(self._joints, dtype=np.float32)[None]
        force = np.array(self._force, dtype=np.float32)[None]
        image = self._image(camera, now_s)
        self._frozen_image = image if self._frozen_image is None else self._frozen_image
        self._frozen_joints = joints if self._frozen_joints is None else self._frozen_joints
        if self._freeze.what == "camera":
            image = self._frozen_image
        if self._freeze.what == "joints":
            joints = self._frozen_joints
        return self._policy(force, joints, image)

    def _image(self, camera: Camera, now_s: float) -> Image:
        """Return the newest frame that has arrived; the arm in it stands where it stood at the shutter."""
        frame = np.floor((now_s - self._rng.uniform(*PICTURE_DELAY_S)) / FRAME_S)
        shutter_s = max(0.0, float(frame) * FRAME_S)
        samples_ago = round((now_s - shutter_s) / SAMPLE_S)
        full = camera.image(shutter_s, self._joints[-1 - samples_ago][:2])
        return np.asarray(cv2.resize(full, IMAGE_PX, interpolation=cv2.INTER_AREA)[None], dtype=np.uint8)


def main() -> None:
    """Print the share of pucks reached."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1000)
    parser.add_argument("--freeze", choices=("none", "camera", "joints"), default="none")
    parser.add_argument("--since", choices=("run", "episode"), default="episode", help="whose first input is frozen")
    parser.add_argument("--zero-actions", action="store_true")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    engine = engines.load(str(args.model), options=Options(threads=1))
    policy = no_action if args.zero_actions else engine_policy(engine)
    run = Run(World(args.seed), policy, Freeze(args.freeze, args.since))
    times = [run.episode(index) for index in range(args.episodes)]
    engine.close()
    reached = [t for t in times if t is not None]
    line = f"reached {len(reached)} of {len(times)} ({100 * len(reached) / len(times):.1f} %)"
    if reached:
        line += f", after {np.median(reached):.2f} s (median), {max(reached):.2f} s (slowest)"
    print(line)


if __name__ == "__main__":
    main()
