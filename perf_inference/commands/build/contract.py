"""perf-inference build MODEL --contract FILE: writes a contract into a model's own file."""

from __future__ import annotations

from pathlib import Path

from perf_inference import engines
from perf_inference.commands.check.fit import fits
from perf_inference.engines import MODELS, Options
from perf_inference.engines.onnx.metadata import with_metadata
from perf_inference.errors import ConfigError
from perf_inference.files.whole import write_whole
from perf_inference.model_build import cache
from perf_inference.tasks.policy.contract.contract import Contract
from perf_inference.tasks.policy.contract.parse import METADATA, read_contract


def checked(model: Path, contract: Path, out: Path | None) -> tuple[Contract, list[str]]:
    """Return the contract, and what to say of how it fits the model.

    Raises:
        ConfigError: the model is no .onnx file, has no place of its own, or does not fit.
    """
    if model.suffix != ".onnx":
        raise ConfigError(
            f"a contract is written into .onnx files alone, not into '{model.name}'; give the node the parameter "
            f"contract: {contract}, or build the model with --runtime onnx"
        )
    if out is None and model.resolve().is_relative_to(MODELS.resolve()):
        raise ConfigError(f"'{model.stem}' is one of the package's own models: add --out PATH for a copy of it")
    if out is None and model.resolve().is_relative_to(cache.root().resolve()):
        raise ConfigError("a model that is built first needs a place of its own with its contract: add --out PATH")
    read = read_contract(contract)
    engine = engines.load(str(model), options=Options(threads=1))
    try:
        return read, fits(read, engine)
    finally:
        engine.close()


def embed(model: Path, contract: Contract) -> str:
    """Write the contract into the model's metadata; return what to say."""
    write_whole(model, with_metadata(model.read_bytes(), METADATA, contract.text))
    return f"{model}: has the contract of {contract.where} in its metadata"
