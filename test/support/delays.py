"""Episodes of the simulated robot over DDS with a delayed chunk policy, in pieces that can be resumed.

    python -m support.delays 0 150 300 random [--episodes 200]      with `test` in PYTHONPATH

Each piece is one run of `perf-inference demo`, whose result is a file in runs/delays: what is there is not run again.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

from support.paths import ROOT, search_path

FOLDER = Path(os.environ.get("PERF_INFERENCE_DELAYS", ROOT / "runs" / "delays"))
PIECE = 25  # episodes
DELAYS = {"0": "0", "150": "150", "300": "300", "random": "50..500"}
CONFIG = """\
/**:
  ros__parameters:
    start: {remap: ["image:=camera/image_raw"]}
/**/sim_arm:
  ros__parameters: {start: {executable: sim_robot_node}, part: arm}
/**/sim_camera:
  ros__parameters: {start: {executable: sim_robot_node}, part: camera}
/**/policy_node:
  ros__parameters:
    threads: 1
    limits: {lower: [-0.3, 0.2], upper: [3.2, 2.8], velocity: [2.5, 2.5]}
"""
_REACHED = re.compile(r"targets reached: (\d+) of (\d+)")


def wilson_lower(successes: int, trials: int, z: float = 1.959964) -> float:
    """Return the lower end of the two-sided 95 % interval (Wilson 1927)."""
    if not trials:
        return 0.0
    p, n = successes / trials, trials
    return (p + z * z / (2 * n) - z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))) / (1 + z * z / n)


def piece(name: str, number: int) -> tuple[int, int]:
    """Return (reached, episodes) of one piece; run it where its result is not there."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    result = FOLDER / f"{name}_{number}.json"
    if result.exists():
        reached, episodes = json.loads(result.read_text())
        return int(reached), int(episodes)
    config = FOLDER / "robot.yaml"
    config.write_text(CONFIG)
    command = [
        sys.executable, "-m", "perf_inference.cli", "demo", "--config", str(config), "--policy", "chunk_policy",
        "--delay-ms", DELAYS[name], "--episodes", str(PIECE), "--seed", str(1000 + number),
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": search_path(ROOT)}
    environment.pop("ROS_DOMAIN_ID", None)
    done = subprocess.run(
        command, cwd=FOLDER, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    found = _REACHED.findall(done.stdout)
    if not found:
        raise AssertionError(f"status {done.returncode}: {done.stdout[-2000:]}{done.stderr[-1000:]}")
    reached, episodes = map(int, found[-1])
    result.write_text(json.dumps([reached, episodes]))
    return reached, episodes


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("delays", nargs="+", choices=list(DELAYS))
    parser.add_argument("--episodes", type=int, default=200)
    args = parser.parse_args()
    for name in args.delays:
        pieces = [piece(name, number) for number in range(args.episodes // PIECE)]
        reached, episodes = (sum(column) for column in zip(*pieces, strict=True))
        print(
            f"{name} ms: reached {reached} of {episodes}, lower bound {wilson_lower(reached, episodes):.3f}", flush=True
        )


if __name__ == "__main__":
    main()
