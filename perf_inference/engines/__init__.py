"""Run a model: arrays in, arrays out. One file per runtime; `load` picks it."""

from __future__ import annotations

from pathlib import Path

from perf_inference.engines.engine import ArraySpec, Engine, EngineInfo
from perf_inference.errors import ConfigError

__all__ = ["RUNTIMES", "ArraySpec", "Engine", "EngineInfo", "load"]

RUNTIMES = ("auto", "onnx")
MODELS = Path(__file__).parent.parent / "models"


def load(model: str, runtime: str = "auto", precision: str = "auto", device: str = "auto", threads: int = 0) -> Engine:
    """Return an engine for `model`, a path or the name of an embedded model.

    Raises:
        ConfigError: no such model, or one that this runtime, precision or device cannot run.
    """
    path = find_model(model)
    if runtime not in RUNTIMES:
        raise ConfigError(f"runtime must be one of {', '.join(RUNTIMES)}, got '{runtime}'")
    if path.suffix != ".onnx":
        raise ConfigError(
            f"'{path}' must be an .onnx file, got '{path.suffix or 'no suffix'}'; export the model to ONNX"
        )
    from perf_inference.engines.onnx import OnnxEngine  # the runtime's library loads only when it is used

    engine = OnnxEngine(path, device, threads)
    if precision not in ("auto", engine.info.precision):
        had = engine.info.precision
        engine.close()
        raise ConfigError(f"'{path.name}' is {had}, but precision '{precision}' was asked for; give a file of that one")
    return engine


def find_model(model: str) -> Path:
    """Return the file of an embedded model's name or of a path.

    Raises:
        ConfigError: there is none.
    """
    embedded = MODELS / f"{model}.onnx"
    if embedded.is_file():
        return embedded
    path = Path(model).expanduser()
    if path.is_file():
        return path
    names = ", ".join(sorted(p.stem for p in MODELS.glob("*.onnx"))) or "none"
    raise ConfigError(f"model '{model}' is neither a file nor an embedded model (embedded: {names})")
