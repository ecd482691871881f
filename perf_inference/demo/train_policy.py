"""Train the embedded policy: it locates the puck in the image and steers the tip onto it.

    python -m perf_inference.demo.train_policy [--out PATH] [--seed 0]

Both parts of the network (`policy_net`) learn on their own. The locator learns from rendered images where the puck
is. The head imitates an expert that knows the puck's motion, on simulated rollouts with delays; it sees what the
robot will see: where the puck was in the last image (as exactly as the locator says it), and the windows of joints
and force.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import cv2
import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import nn

from perf_inference.demo import checkpoints
from perf_inference.demo.arm import ArmLimits, inverse
from perf_inference.demo.evaluate import IMAGE_PX, MODEL, SAMPLE_S, SAMPLES_PER_TICK, WINDOW
from perf_inference.demo.policy_net import Head, Locator, PolicyNet, to_track
from perf_inference.demo.rollouts import rollouts
from perf_inference.demo.scenes import Image
from perf_inference.demo.world import CENTRE_PX, EPISODE_S, TRACK_RATIO, Camera, World

METADATA = {"window": str(WINDOW), "rate_hz": "10", "action": "velocity", "joint_names": "shoulder,elbow"}

Floats = NDArray[np.float32]


def scene_images(seed: int, episodes: int, per_episode: int) -> tuple[Image, Floats]:
    """Return small images uint8 [N, 96, 128, 3] and the puck's centres [N, 2] in px; the tip is anywhere or near."""
    rng = np.random.default_rng(seed)
    images = np.empty((episodes * per_episode, IMAGE_PX[1], IMAGE_PX[0], 3), np.uint8)
    centres = np.empty((episodes * per_episode, 2), np.float32)
    lower, upper = np.array(ArmLimits().position_rad).T
    for index in range(episodes):
        episode = World(seed).episode(index)
        camera = Camera(episode)
        for k in range(index * per_episode, (index + 1) * per_episode):
            t_s = float(rng.uniform(0, EPISODE_S))
            centres[k] = episode.track.at(t_s)
            near = inverse(*(centres[k] + rng.normal(0, 25.0, size=2)))
            pose = near if rng.random() < 0.6 else rng.uniform(lower, upper)
            images[k] = cv2.resize(camera.image(t_s, pose), IMAGE_PX, interpolation=cv2.INTER_AREA)
    return images, centres


def train_locator(net: Locator, seed: int, episodes: int, epochs: int) -> float:
    """Train the locator, or go on with it; return its error [px, RMS per axis] on images of unseen episodes."""
    images, centres = (torch.from_numpy(a) for a in scene_images(seed + 1, episodes, 16))
    held_images, held_centres = (torch.from_numpy(a) for a in scene_images(seed + 2, 60, 16))
    goals = torch.stack(to_track(centres[:, 0], centres[:, 1]), dim=1)
    batch = 64
    optimiser = torch.optim.Adam(net.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=epochs * (len(images) // batch))
    rms_px = float("nan")
    for epoch in range(epochs):
        order = torch.randperm(len(images))
        for start in range(0, len(order) - batch + 1, batch):
            chosen = order[start : start + batch]
            loss = nn.functional.smooth_l1_loss(net(images[chosen]), goals[chosen], beta=0.05)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        with torch.no_grad():
            found = net(held_images) * torch.tensor([100.0 * TRACK_RATIO, 100.0]) + torch.tensor(CENTRE_PX)
        misses = found - held_centres
        rms_px = float(misses.square().mean().sqrt())
        print(f"locator epoch {epoch + 1}: {rms_px:.2f} px RMS, worst {float(misses.abs().max()):.1f} px", flush=True)
    return rms_px


def train_head(net: Head, seed: int, locator_px: float, rounds: int, robots: int = 256) -> None:
    """Train the head to imitate the expert, or go on; every round drives new robots and passes over them twice."""
    rng = np.random.default_rng(seed + 3)
    batch = 256
    optimiser = torch.optim.Adam(net.parameters())
    per_round = 2 * (robots * 3 * round(EPISODE_S / SAMPLE_S) // SAMPLES_PER_TICK // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=rounds * per_round)
    for number in range(rounds):
        data = rollouts(rng, robots, locator_px)
        wrench = data.force + rng.normal(0, (0.1, 0.1, 0.1, 0.01, 0.01, 0.01), data.force.shape).astype(np.float32)
        wrench[rng.random(len(wrench)) < 0.3] = 0.0  # a robot without a sensor still follows
        puck_px, joints, force = (torch.from_numpy(a) for a in (data.puck, data.joints, wrench))
        puck, wanted = torch.stack(to_track(puck_px[:, 0], puck_px[:, 1]), dim=1), torch.from_numpy(data.action)
        total = 0.0
        for chosen in torch.cat([torch.randperm(len(puck)), torch.randperm(len(puck))]).split(batch)[:per_round]:
            loss = nn.functional.smooth_l1_loss(
                net(puck[chosen], joints[chosen], force[chosen]), wanted[chosen], beta=0.2
            )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += float(loss.detach())
        print(f"head round {number + 1}: loss {total / per_round:.4f}", flush=True)


def export(net: PolicyNet, path: Path) -> None:
    """Write the graph with its metadata as one file."""
    shapes = {"force": (1, WINDOW, 6), "joints": (1, WINDOW, 4), "image": (1, IMAGE_PX[1], IMAGE_PX[0], 3)}
    example = tuple(
        torch.zeros(s, dtype=torch.uint8 if name == "image" else torch.float32) for name, s in shapes.items()
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.onnx.export(
        net.eval(),
        example,
        str(path),
        input_names=list(shapes),
        output_names=["action"],
        opset_version=17,
        dynamo=False,
    )
    model = onnx.load(str(path))
    onnx.helper.set_model_props(model, METADATA)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def main() -> None:
    """Train, export, and say how long it took."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=MODEL)
    parser.add_argument("--checkpoint", type=Path, help="the same weights for PyTorch (default: .pt beside --out)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--episodes", type=int, default=1500, help="whose images the locator learns from")
    parser.add_argument("--epochs", type=int, default=6, help="of the locator")
    parser.add_argument("--rounds", type=int, default=30, help="of the head")
    args = parser.parse_args()
    began_ns = time.monotonic_ns()
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(args.threads)
    locator = Locator()
    locator_px = train_locator(locator, args.seed, args.episodes, args.epochs)
    head = Head()
    train_head(head, args.seed, locator_px, args.rounds)
    export(PolicyNet(locator, head), args.out)
    checkpoints.convert(args.out, "policy", args.checkpoint or args.out.with_suffix(".pt"))
    minutes = (time.monotonic_ns() - began_ns) / 60e9
    print(f"{args.out}: {args.out.stat().st_size} bytes, after {minutes:.1f} min")


if __name__ == "__main__":
    main()
