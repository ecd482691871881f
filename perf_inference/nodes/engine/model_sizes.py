"""What the heartbeat and `engine_state` say of the size of a node's model and of the memory of its process."""

from __future__ import annotations

import json
import math
import re
import sys
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from perf_inference import model_build
from perf_inference.devices.process_memory import resident_bytes
from perf_inference.engines import Engine, EngineInfo
from perf_inference.measure.stamps import Scalar
from perf_inference.model_build import content

_KEPT = 4  # engines, of which one is in use and another may be on its way
_SCORES = ("score", "accuracy", "bleu", "map50_95")  # what a model's metadata may call how good it is
_MAPPING = re.compile(r":(?=\s|$)")
_IN_STATE = {
    "size_mb": "model_mb",
    "parameters": "model_parameters",
    "score": "model_score",
    "process_memory_mb": "process_memory_mb",
    "gpu_memory_mb": "gpu_memory_mb",
}


class ModelSizes:
    """The file sizes of the engines that were loaded last."""

    def __init__(self) -> None:
        self._bytes: OrderedDict[int, int | None] = OrderedDict()

    def add(self, engine: Engine, made: model_build.Plan) -> None:
        """Take down the size of the file that an engine was loaded from; a server's model has none."""
        self._bytes[id(engine)] = None if made.source is None else content.size_bytes(made.source)
        while len(self._bytes) > _KEPT:
            self._bytes.popitem(last=False)

    def figures(self, engine: Engine) -> Mapping[str, Scalar]:
        """Return size [MB], parameters, score and memory [MB]; null where they are not known."""
        size = self._bytes.get(id(engine))
        return {
            "model_mb": None if size is None else size / 1e6,
            "model_parameters": getattr(engine, "parameters", None),
            "model_score": _score(engine.info),
            "process_memory_mb": resident_bytes() / 1e6,
            "gpu_memory_mb": _gpu_mb(engine.info.device),
        }

    def as_json(self, engine: Engine) -> str:
        """Return the same as `engine_state` ends with it: a flat JSON object, nulls for what is not known."""
        said = self.figures(engine)
        values = {key: _rounded(said[name]) for key, name in _IN_STATE.items()}
        return json.dumps(values, allow_nan=False, separators=(",", ":"))  # with ": " in it YAML reads no text


def one_text(state: str) -> str:
    """Return a state so that YAML reads it as a text: `ros2 param load` reads what was dumped once more as YAML."""
    return _MAPPING.sub(",", state).replace(" #", " no. ")


def _score(info: EngineInfo) -> float | None:
    """Return the score at the precision in use: what was measured at another one says nothing of it."""
    metadata = info.metadata
    measured_at = metadata.get("score_precision", info.precision)
    keys = _SCORES if measured_at == info.precision else (f"score_{info.runtime}_{info.precision}",)
    said = next((metadata[key] for key in keys if key in metadata), "")
    try:
        score = float(said)
    except ValueError:
        return None
    return score if math.isfinite(score) else None


def _rounded(value: Scalar) -> Scalar:
    return round(value, 4) if isinstance(value, float) else value


def _gpu_mb(device: str) -> float | None:
    """Return what PyTorch holds on the GPU [MB]; other runtimes do not say what is theirs."""
    torch: Any = sys.modules.get("torch")
    if torch is None or not device.startswith("cuda"):
        return None
    return float(torch.cuda.memory_reserved(torch.device(device))) / 1e6
