"""LeRobot policies that can be exported, by the `type` of their `config.json`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from perf_inference.engines.architectures import Architecture
from perf_inference.engines.lerobot import contract, folder
from perf_inference.engines.policy_folder import sign_of
from perf_inference.engines.pytorch.checkpoint import load_checkpoint
from perf_inference.errors import ConfigError
from perf_inference.files.json_file import read_json
from perf_inference.model_build.converters.lerobot import act

_KINDS = {"act": act.architecture}


def architecture(source: Path) -> Architecture:
    """Return the network of a folder, and its contract as far as the folder says it.

    Raises:
        ConfigError: a policy that is not exported, or a folder that lacks something.
    """
    config = read_json(sign_of(source))
    kind = str(config.get("type"))
    if kind not in _KINDS:
        raise ConfigError(
            f"'{source}' is a LeRobot policy of type '{kind}', which is not exported (only {', '.join(_KINDS)} is): "
            "its many steps of one inference depend on each other and on chance; run it with runtime lerobot"
        )
    weights = load_checkpoint(source / folder.WEIGHTS).weights
    made = _KINDS[kind](source, config, weights)
    return replace(made, metadata=contract.metadata_of(source))
