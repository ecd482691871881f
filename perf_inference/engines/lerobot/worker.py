"""The process that runs a policy with LeRobot itself, in LeRobot's own environment.

It is started as a file, by an interpreter that has LeRobot and need not have this package: nothing of it is imported.
Frames over a socket, both ways: lengths of header and arrays (`<II`), the header as JSON with `arrays` [name, dtype,
shape] among it, and the arrays' bytes one after the other. It ends when the other end of the socket does, or its
parent.
"""

from __future__ import annotations

import importlib
import json
import os
import struct
import sys
import threading
import zlib
from collections.abc import Sequence
from typing import Any

HEAD = struct.Struct("<II")
MOST_HEADER = 1 << 20
_LANGUAGE = "task"
_PREVIOUS, _DELAY = "previous_chunk", "delay_steps"  # of real-time chunking (arXiv:2506.07339)
_OF_IMAGES = "observation.images"


def receive(stream: Any) -> tuple[dict[str, Any], bytes] | None:
    """Return (header, arrays by name as bytes), or None at the end."""
    head = stream.read(HEAD.size)
    if len(head) < HEAD.size:
        return None
    length, rest = HEAD.unpack(head)
    if length > MOST_HEADER:
        raise ValueError(f"a header must have at most {MOST_HEADER} bytes, got {length}")
    header, data = json.loads(stream.read(length)), stream.read(rest)
    return header, data


def send(stream: Any, header: dict[str, Any], arrays: Sequence[tuple[str, Any]] = ()) -> None:
    """Send a header and arrays [(name, ndarray)]."""
    said = {**header, "arrays": [[name, array.dtype.str, list(array.shape)] for name, array in arrays]}
    text = json.dumps(said).encode()
    parts = [array.tobytes() for _, array in arrays]
    stream.write(HEAD.pack(len(text), sum(map(len, parts))) + text)
    for part in parts:
        stream.write(part)
    stream.flush()


def arrays_of(header: dict[str, Any], data: bytes) -> dict[str, Any]:
    """Return the arrays of a frame by name."""
    import numpy as np

    found, start = {}, 0
    for name, dtype, shape in header["arrays"]:
        kind = np.dtype(dtype)
        count = int(np.prod(shape, dtype=np.int64))
        found[name] = np.frombuffer(data, kind, count, start).reshape(shape)
        start += count * kind.itemsize
    return found


class Policy:
    """A policy of a folder, with its processors."""

    def __init__(self, folder: str, device: str, threads: int) -> None:
        torch: Any = importlib.import_module("torch")
        if threads:
            torch.set_num_threads(threads)
        self.torch = torch
        factory: Any = importlib.import_module("lerobot.policies.factory")  # which also makes all types known
        config = importlib.import_module("lerobot.configs.policies").PreTrainedConfig.from_pretrained(folder)
        config.device = self.device = device if device != "auto" else ("cuda" if torch.cuda.is_available() else "cpu")
        self.config = config
        self.policy = factory.get_policy_class(config.type).from_pretrained(folder, config=config)
        self.policy = self.policy.to(self.device).eval()
        self.before, self.after = self._processors(folder)
        self.steps = config.n_obs_steps if config.type == "diffusion" else 1
        self.images = list(config.image_features)

    def _processors(self, folder: str) -> tuple[Any, Any]:
        """Return what scales inputs and outputs; before LeRobot 0.4 the policy does it itself."""
        make: Any = getattr(importlib.import_module("lerobot.policies.factory"), "make_pre_post_processors", None)
        if make is None:
            return (lambda batch: batch), (lambda actions: actions)
        there = {"device_processor": {"device": self.device}}
        back = {"device_processor": {"device": "cpu"}}
        before, after = make(
            self.config, pretrained_path=folder, preprocessor_overrides=there, postprocessor_overrides=back
        )
        return before, after

    def infer(self, arrays: dict[str, Any], task: str | None, seed: int) -> Any:
        """Return the chunk [1, H, A] in real units; chance is the same for the same inputs."""
        torch = self.torch
        guided = self._guided(arrays)
        batch: dict[str, Any] = {}
        for name, array in arrays.items():
            tensor = torch.from_numpy(array.copy())
            batch[name] = (tensor.movedim(-1, -3).to(torch.float32) / 255) if name in self.images else tensor
        if task is not None:
            batch[_LANGUAGE] = [task]
        torch.manual_seed(seed)
        with torch.no_grad():
            batch = self.before(batch)
            if self.config.type == "diffusion":
                if self.images:
                    batch[_OF_IMAGES] = torch.stack([batch[name] for name in self.images], dim=-4)
                if self.steps == 1:
                    batch = {k: v.unsqueeze(1) if torch.is_tensor(v) else v for k, v in batch.items()}
                actions = self.policy.diffusion.generate_actions(batch)
            else:
                if hasattr(self.policy, "reset"):
                    self.policy.reset()
                actions = self.policy.predict_action_chunk(batch, **guided)
            return self.after(actions).to("cpu", torch.float32).numpy()

    def _guided(self, arrays: dict[str, Any]) -> dict[str, Any]:
        """Take the plan's next steps out of the inputs, and return how LeRobot's real-time chunking wants them."""
        previous, delay = arrays.pop(_PREVIOUS, None), int(arrays.pop(_DELAY, [0])[0])
        if previous is None or not delay:
            return {}
        steps = self.torch.from_numpy(previous.copy())[:, :delay].to(self.device)
        for step in getattr(self.before, "steps", ()):
            if hasattr(step, "_normalize_action"):
                steps = step._normalize_action(steps, inverse=False)
        return {"inference_delay": delay, "prev_chunk_left_over": steps, "execution_horizon": delay}


def end_with_parent(life: int) -> None:
    """End when the other end of this pipe is closed: whoever started this process has ended, however it did."""

    def watch() -> None:
        os.read(life, 1)
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


def version() -> str:
    """Return which LeRobot runs."""
    metadata: Any = importlib.import_module("importlib.metadata")
    try:
        return str(metadata.version("lerobot"))
    except metadata.PackageNotFoundError:
        return "unknown"


def main() -> None:
    """Load what the first frame says, then answer each frame."""
    life, descriptor = int(sys.argv[1]), int(sys.argv[2])
    end_with_parent(life)
    try:
        with open("/proc/self/oom_score_adj", "w") as file:  # the first to go where memory runs out
            file.write("800")
    except OSError:
        pass
    source, target = os.fdopen(descriptor, "rb"), os.fdopen(os.dup(descriptor), "wb")
    first = receive(source)
    if first is None:
        return
    wanted, _ = first
    try:
        policy = Policy(wanted["folder"], wanted["device"], wanted["threads"])
    except BaseException as error:
        send(target, {"error": f"{type(error).__name__}: {error}"[:2000]})
        raise SystemExit(1) from error
    send(target, {"lerobot": version(), "type": policy.config.type, "device": str(policy.device)})
    while (frame := receive(source)) is not None:
        header, data = frame
        try:
            task = header.get(_LANGUAGE)
            seed = zlib.crc32(data, zlib.crc32((task or "").encode()))
            send(target, {}, [("action", policy.infer(arrays_of(header, data), task, seed))])
        except MemoryError:
            os._exit(137)
        except Exception as error:
            send(target, {"error": f"{type(error).__name__}: {error}"[:2000]})


if __name__ == "__main__":
    main()
