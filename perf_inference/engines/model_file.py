"""Where a model is: the embedded ones by name, others by path or address."""

from __future__ import annotations

from pathlib import Path

from perf_inference.engines.runtimes import AUTO, RUNTIMES, is_remote
from perf_inference.errors import ConfigError

FOLDER_SIGN = "config.json"
"""The file that a Hugging Face folder has."""
MODELS = Path(__file__).parent.parent / "models"


def find_model(model: str, runtime: str = AUTO) -> str:
    """Return the path of a file or of an embedded model's name, or the address of a remote model as it is.

    An embedded model has a file in more than one format: the one that the runtime takes as it is comes first, then
    ONNX, then the checkpoint that others are built from.

    Raises:
        ConfigError: there is none.
    """
    if is_remote(model):
        return model
    wanted = RUNTIMES[runtime].suffixes if runtime in RUNTIMES else ()
    for suffix in (*wanted, ".onnx", ".safetensors", ".pt"):
        if (embedded := MODELS / f"{model}{suffix}").is_file() and "/" not in model:
            return str(embedded)
    path = Path(model).expanduser()
    if path.is_file() or (path / FOLDER_SIGN).is_file():
        return str(path)
    if path.is_dir():
        raise ConfigError(f"'{path}' is a folder without '{FOLDER_SIGN}': no model that save_pretrained wrote")
    raise ConfigError(
        f"model '{model}' is neither a file nor an embedded model (embedded: {', '.join(embedded_models()) or 'none'})"
    )


def embedded_models() -> list[str]:
    """Return the names of the models that come with the package."""
    return sorted({path.stem for path in MODELS.glob("*") if path.suffix in (".onnx", ".safetensors", ".pt")})
