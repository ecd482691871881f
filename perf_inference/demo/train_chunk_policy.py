"""Train the embedded chunk policy: the positions of both joints for the next 1.2 s, at 20 Hz.

    python -m perf_inference.demo.train_chunk_policy [--out PATH] [--seed 0]

The locator is taken from the embedded policy's checkpoint. The planner imitates an expert that knows the puck's motion
and steers a smooth way onto it, from poses near and far; it sees what the robot will see: where the puck was in three
images, as exactly as the locator says it and as old as they come, and the joints as they are.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import nn

from perf_inference.demo import checkpoints
from perf_inference.demo.arm import ArmLimits, Vector, inverse
from perf_inference.demo.chunk_net import FRAMES, FRAMES_HZ, RATE_HZ, STEPS, ChunkNet, Planner
from perf_inference.demo.evaluate import IMAGE_PX
from perf_inference.demo.policy_net import Locator, to_track
from perf_inference.demo.world import CENTRE_PX, TRACK_HALF_HEIGHT_PX, TRACK_RATIO, TURN_RAD_S
from perf_inference.engines import MODELS
from perf_inference.engines.pytorch.checkpoint import load_checkpoint
from perf_inference.tasks.policy.contract.parse import METADATA

NAME = "chunk_policy"
LEAD_S = 0.08  # half a step, and the arm's time constant
IMAGE_AGE_S = (0.01, 0.09)
LOCATOR_PX = 1.5  # its error, RMS per axis
_GAIN_1_S, _SMOOTH_S, _FASTEST_RAD_S = 4.0, 0.08, 2.2
_SUBSTEPS = 5
_STEP_S = 1 / RATE_HZ
Floats = NDArray[np.float32]
CONTRACT = f"""\
version: 1
rate_hz: {RATE_HZ:g}
observations:
- {{input: images, topic: image, type: sensor_msgs/msg/Image, image: {{colour: bgr, interpolation: area}},
   window: {{length: {FRAMES}, rate_hz: {FRAMES_HZ:g}}}}}
- {{input: joints, topic: joint_states, type: sensor_msgs/msg/JointState, names: [shoulder, elbow],
   fields: [position, velocity]}}
actions:
- {{output: action, names: [shoulder, elbow], kind: position, message: JointTrajectory, topic: action,
   limits: {{lower: [-0.3, 0.2], upper: [3.2, 2.8], velocity: [2.5, 2.5]}}}}
execution: async
merge: align
align_fade_s: 0.4
"""


class Pucks:
    """Many pucks at once, on tracks as episodes have them."""

    def __init__(self, rng: np.random.Generator, count: int) -> None:
        self._half_height_px = rng.uniform(*TRACK_HALF_HEIGHT_PX, count)
        self._turn_rad_s, self._phase_rad = rng.uniform(*TURN_RAD_S, count), rng.uniform(0, 2 * np.pi, count)

    def at(self, t_s: Vector) -> Vector:
        """Return the centres [N, 2] in px."""
        angle = self._phase_rad + self._turn_rad_s * t_s
        x = CENTRE_PX[0] + TRACK_RATIO * self._half_height_px * np.cos(angle)
        return np.stack([x, CENTRE_PX[1] - self._half_height_px * np.sin(angle)], axis=1)


def expert(pucks: Pucks, t_s: Vector, position: Vector, velocity: Vector) -> Vector:
    """Return the positions [N, 24, 2] that a smooth way onto the puck has, from poses [N, 2] at times [N]."""
    lower, upper = np.array(ArmLimits().position_rad).T
    here, speed = position.copy(), velocity.copy()
    rows, h = [], _STEP_S / _SUBSTEPS
    keep = np.exp(-h / _SMOOTH_S)

    def goal(at_s: Vector) -> Vector:
        return inverse(*pucks.at(at_s).T)

    for step in range(STEPS + round(LEAD_S / _STEP_S) + 1):
        before = here.copy()
        rows.append(before)
        for sub in range(_SUBSTEPS):
            at_s = t_s + step * _STEP_S + sub * h
            motion = (goal(at_s + 0.01) - goal(at_s - 0.01)) / 0.02
            wanted = np.clip(motion + _GAIN_1_S * (goal(at_s) - here), -_FASTEST_RAD_S, _FASTEST_RAD_S)
            speed = wanted + (speed - wanted) * keep
            here = np.clip(here + speed * h, lower, upper)
    way = np.stack(rows, axis=1)
    ahead = LEAD_S / _STEP_S
    whole, share = int(ahead), ahead - int(ahead)
    return way[:, whole : whole + STEPS] * (1 - share) + way[:, whole + 1 : whole + 1 + STEPS] * share


def samples(rng: np.random.Generator, count: int) -> tuple[Floats, Floats, Floats]:
    """Return pucks [N, 3, 2] in px, joints [N, 4] and positions [N, 24, 2]."""
    pucks, others = Pucks(rng, count), Pucks(rng, count)
    t_s = rng.uniform(0, 6, count)
    lower, upper = np.array(ArmLimits().position_rad).T
    goal = inverse(*pucks.at(t_s).T)
    motion = (inverse(*pucks.at(t_s + 0.01).T) - inverse(*pucks.at(t_s - 0.01).T)) / 0.02
    spread = rng.choice([0.03, 0.1, 0.3], (count, 1))
    near = goal + rng.normal(0, 1, (count, 2)) * spread
    far = rng.random((count, 1)) < 0.4
    position = np.clip(np.where(far, rng.uniform(lower, upper, (count, 2)), near), lower, upper)
    still = rng.random((count, 1)) < 0.5
    velocity = np.where(far & still, 0.0, np.where(far, 0, motion) + rng.normal(0, 0.5, (count, 2)))
    seen = []
    for frame in range(FRAMES):
        age_s = (FRAMES - 1 - frame) / FRAMES_HZ + rng.uniform(*IMAGE_AGE_S, count)
        stale = (rng.random((count, 1)) < 0.08) & (frame < FRAMES - 1)  # of the episode before
        seen.append(np.where(stale, others.at(t_s - age_s), pucks.at(t_s - age_s)))
    noisy = np.stack(seen, axis=1) + rng.normal(0, LOCATOR_PX, (count, FRAMES, 2))
    wanted = expert(pucks, t_s, position, velocity)
    joints = np.concatenate([position, velocity], axis=1)
    return noisy.astype(np.float32), joints.astype(np.float32), wanted.astype(np.float32)


def train(net: Planner, seed: int, rounds: int, per_round: int = 40_000, batch: int = 256) -> None:
    """Train the planner on samples that are new in every round."""
    optimiser = torch.optim.Adam(net.parameters())
    steps = rounds * (2 * per_round // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps + 1)
    for number in range(rounds):
        pucks_px, joints, wanted = (
            torch.from_numpy(a) for a in samples(np.random.default_rng((seed, number)), per_round)
        )
        pucks = torch.stack(to_track(pucks_px[..., 0], pucks_px[..., 1]), dim=2).flatten(1)
        total, count, rms = 0.0, 0, torch.zeros(STEPS)
        order = torch.cat([torch.randperm(per_round), torch.randperm(per_round)])
        for start in range(0, len(order) - batch + 1, batch):
            chosen = order[start : start + batch]
            found = net(pucks[chosen], joints[chosen])
            loss = nn.functional.smooth_l1_loss(found, wanted[chosen], beta=0.05)
            # The way from one step to the next is what is felt as smooth.
            loss = loss + 2.0 * nn.functional.mse_loss(found.diff(dim=1), wanted[chosen].diff(dim=1)) / _STEP_S
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total, count = total + float(loss.detach()), count + 1
            rms = (found.detach() - wanted[chosen]).square().mean((0, 2)).sqrt()
        print(f"round {number + 1}: loss {total / count:.5f}; RMS {rms[0]:.3f} rad at the first step, {rms[-1]:.3f} at "
              "the last", flush=True)  # fmt: skip


def export(net: ChunkNet, path: Path) -> None:
    """Write the graph with its contract as one file."""
    images = torch.zeros((1, FRAMES, IMAGE_PX[1], IMAGE_PX[0], 3), dtype=torch.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.onnx.export(
        net.eval(),
        (images, torch.zeros(1, 4)),
        str(path),
        input_names=["images", "joints"],
        output_names=["action"],
        opset_version=17,
        dynamo=False,
    )
    model = onnx.load(str(path))
    onnx.helper.set_model_props(model, {METADATA: CONTRACT})
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def main() -> None:
    """Train, export, and say how long it took."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=MODELS / f"{NAME}.onnx")
    parser.add_argument("--checkpoint", type=Path, help="the same weights for PyTorch (default: .pt beside --out)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=30)
    args = parser.parse_args()
    began_ns = time.monotonic_ns()
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    policy = load_checkpoint(MODELS / "policy.pt")
    locator = Locator()
    locator.load_state_dict({n.removeprefix("locator."): w for n, w in policy.weights.items() if n[:8] == "locator."})
    planner = Planner()
    train(planner, args.seed, args.rounds)
    export(ChunkNet(locator, planner), args.out)
    checkpoints.convert(args.out, NAME, args.checkpoint or args.out.with_suffix(".pt"))
    minutes = (time.monotonic_ns() - began_ns) / 60e9
    print(f"{args.out}: {args.out.stat().st_size} bytes, after {minutes:.1f} min")


if __name__ == "__main__":
    main()
