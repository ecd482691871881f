"""How a LeRobot policy scales its inputs and outputs: the statistics of its training data, from either layout."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perf_inference.engines.lerobot.folder import STEPS, Feature
from perf_inference.errors import ConfigError, in_one_line

_MODES = {"MEAN_STD": ("mean", "std"), "MIN_MAX": ("min", "max"), "QUANTILES": ("q01", "q99"),
          "QUANTILE10": ("q10", "q90")}  # fmt: skip
_KNOWN = {
    "pre": ("rename_observations_processor", "to_batch_processor", "device_processor", "normalizer_processor"),
    "post": ("unnormalizer_processor", "device_processor"),
}
_NORMALIZER = {"pre": "normalizer_processor", "post": "unnormalizer_processor"}
_EPS = 1e-8  # LeRobot's, in all of it


@dataclass(frozen=True)
class Scaling:
    """Of one feature; IDENTITY has no values."""

    mode: str
    values: tuple[Any, Any] | None = None  # tensors: mean and std, or the ends of the range
    eps: float = _EPS
    always_added: bool = False  # eps to the width of a range: so it was before 0.4; later where the width is 0


class Statistics:
    """The scalings of a folder."""

    def __init__(self, folder: Path, config: Mapping[str, Any], weights: Mapping[str, Any]) -> None:
        """Read them.

        Args:
            weights: of the policy, as its file has them.

        Raises:
            ConfigError: a step that is not known, or statistics that are missing.
        """
        self._folder, self._config, self._weights = folder, config, weights
        self._steps = {which: _steps(folder, which) for which in STEPS}

    def scaling(self, feature: Feature, out: bool = False) -> Scaling:
        """Return the scaling of an input, or of an output back to real units.

        Raises:
            ConfigError: it has none.
        """
        step = self._steps["post" if out else "pre"]
        said = (step or {}).get("config", {}).get("norm_map") or self._config.get("normalization_mapping") or {}
        mode = str(said.get(feature.kind, "IDENTITY"))
        if mode == "IDENTITY":
            return Scaling(mode)
        if mode not in _MODES:
            raise ConfigError(f"'{self._folder}' scales {feature.kind} by {mode}, which is none of {', '.join(_MODES)}")
        found = self._found(feature, step, out)
        low, high = _MODES[mode]
        if low not in found or high not in found:
            raise ConfigError(
                f"'{self._folder}' has no {low} and {high} of '{feature.name}', by which it scales {feature.kind}; "
                "save it again with the statistics of its data set"
            )
        eps = (step or {}).get("config", {}).get("eps", _EPS)
        return Scaling(mode, (found[low], found[high]), float(eps), always_added=step is None)

    def _found(self, feature: Feature, step: Mapping[str, Any] | None, out: bool) -> dict[str, Any]:
        if step is None:
            room = "unnormalize_outputs" if out else "normalize_inputs"
            prefix = f"{room}.buffer_{feature.name.replace('.', '_')}."
            return {n.removeprefix(prefix): t for n, t in self._weights.items() if n.startswith(prefix)}
        from perf_inference.engines.pytorch.checkpoint import load_checkpoint

        name = step.get("state_file")
        if not isinstance(name, str) or "/" in name:
            return {}
        tensors = load_checkpoint(self._folder / name).weights
        prefix = f"{feature.name}."
        return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def _steps(folder: Path, which: str) -> Mapping[str, Any] | None:
    """Return the step that scales; None: the folder is of before 0.4."""
    file = folder / STEPS[which]
    if not file.is_file():
        return None
    scales: Mapping[str, Any] = {"config": {"norm_map": {}}}
    for name, step in _listed(file):
        if name not in _KNOWN[which]:
            raise ConfigError(
                f"'{file}' has a step '{name}', which the export does not know; run the policy with runtime lerobot"
            )
        if name == _NORMALIZER[which]:
            scales = step
    return scales


def _listed(file: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        for step in content["steps"]:
            yield str(step.get("registry_name") or step.get("class")), step
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigError(f"'{file}' must be a list of steps as LeRobot writes it: {in_one_line(error)}") from error
