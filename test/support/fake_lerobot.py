"""An interpreter that "has LeRobot": the worker itself, with a policy that does what the state's first value says."""

from __future__ import annotations

import json
import sys
from pathlib import Path

_SCRIPT = """#!/bin/sh
"exec" "{python}" "$0" "$@"  # for Python two strings; a path in the first line may have no space
import importlib.util, os, signal, sys, time
import numpy as np
spec = importlib.util.spec_from_file_location("worker", sys.argv[2])
worker = importlib.util.module_from_spec(spec)
spec.loader.exec_module(worker)

class Config:
    type = "act"

class Policy:
    def __init__(self, folder, device, threads):
        if os.path.exists(folder + "/refuse"):
            raise ValueError("no such policy")
        self.config, self.device, self.folder = Config, "cpu", folder
        with open(folder + "/pids", "a") as file:
            file.write(f"{{os.getpid()}}\\n")

    def infer(self, arrays, task, seed):
        state = arrays["observation.state"]
        wish = float(state[0, 0])
        if wish == 99:
            os.kill(os.getpid(), signal.SIGSTOP)
        if wish == 98:
            os.kill(os.getpid(), signal.SIGKILL)
        if wish == 97:
            raise MemoryError
        if wish == 96:
            raise ValueError("wrong\\x1b[31m colour")
        means = [array.mean() / 255 for name, array in sorted(arrays.items()) if array.dtype == np.uint8]
        rows = np.arange(1, 5, dtype=np.float32)[:, None]
        return (rows * (state + np.float32(sum(means))))[None].astype(np.float32)

worker.Policy = Policy
sys.argv = sys.argv[2:]
worker.main()
"""


def fake_python(folder: Path) -> str:
    """Return the path of such an interpreter."""
    path = folder / "python"
    path.write_text(_SCRIPT.format(python=sys.executable))
    path.chmod(0o755)
    return str(path)


def fake_policy(folder: Path, image: tuple[int, int] = (8, 10)) -> Path:
    """Return a folder that says of itself that it is an ACT for two joints and a camera."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "type": "act", "n_obs_steps": 1, "chunk_size": 4,
        "input_features": {
            "observation.state": {"type": "STATE", "shape": [2]},
            "observation.images.front": {"type": "VISUAL", "shape": [3, *image]},
        },
        "output_features": {"action": {"type": "ACTION", "shape": [2]}},
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    return folder
