"""The folder of a LeRobot policy, as its `save_pretrained` writes it: what it says, before any library reads it.

    config.json, model.safetensors                       features, sizes; weights
    policy_preprocessor.json, policy_postprocessor.json  steps, each with the file of its statistics (since 0.4)

Before 0.4 the statistics are among the weights, `normalize_inputs.buffer_observation_state.mean` and the like.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perf_inference.errors import ConfigError

WEIGHTS = "model.safetensors"
STEPS = {"pre": "policy_preprocessor.json", "post": "policy_postprocessor.json"}


@dataclass(frozen=True)
class Feature:
    """One array of a policy."""

    name: str
    kind: str  # STATE, VISUAL, ENV, ACTION
    shape: tuple[int, ...]  # of one sample; an image is [3, H, W]


def features_of(config: Mapping[str, Any], key: str, where: str | Path) -> tuple[Feature, ...]:
    """Return `input_features` or `output_features`.

    Raises:
        ConfigError: one that has no shape.
    """
    said = config.get(key)
    if not isinstance(said, Mapping) or not said:
        raise ConfigError(f"{where}: {key} must be a mapping of features with type and shape, got {str(said)[:60]}")
    found = []
    for name, feature in said.items():
        shape = feature.get("shape") if isinstance(feature, Mapping) else None
        if not isinstance(shape, list) or not shape or not all(isinstance(n, int) and n > 0 for n in shape):
            raise ConfigError(
                f"{where}: {key}.{name} must have a type and a shape of whole numbers, got {str(feature)[:60]}"
            )
        found.append(Feature(str(name), str(feature.get("type")), tuple(shape)))
    return tuple(found)
