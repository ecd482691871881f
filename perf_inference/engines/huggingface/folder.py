"""What can be said of a Hugging Face folder by its files, before any library reads it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from perf_inference.engines.model_file import FOLDER_SIGN
from perf_inference.errors import ConfigError
from perf_inference.files.json_file import read_json

CONFIG = FOLDER_SIGN
READ = (".json", ".txt", ".safetensors", ".model", ".jinja")
"""Suffixes of the files that are read; none of these formats holds code."""
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")


def is_folder(path: Path) -> bool:
    """Return whether it is a folder as `save_pretrained` writes it."""
    return path.is_dir() and (path / CONFIG).is_file()


def files_of(folder: Path) -> tuple[Path, ...]:
    """Return the files that belong to the model, in a fixed order."""
    return tuple(sorted(file for file in folder.iterdir() if file.suffix in READ and file.is_file()))


def check(folder: Path) -> dict[str, Any]:
    """Return the content of `config.json`.

    Raises:
        ConfigError: a file is missing or damaged, the weights are a pickle, or code of the model's own is asked for.
    """
    config = read_json(folder / CONFIG)
    for file in sorted(folder.glob("*.json")):
        if file.name.endswith(".index.json") or "config" not in file.name:
            continue
        if asked := next(_code_in(read_json(file)), ""):
            raise ConfigError(
                f"'{file}' asks for code of the model's own ({asked[:80]}), which is never run; take a model that "
                "transformers itself has"
            )
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        pickles = [file.name for pattern in _PICKLES for file in sorted(folder.glob(pattern))]
        had = f"'{pickles[0]}' is a pickle, which can run code" if pickles else "it has no weights"
        raise ConfigError(f"'{folder}' must hold its weights as .safetensors: {had}; save it with safe_serialization")
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        said = read_json(index).get("weight_map", {})
        names = {str(name) for name in said.values()} if isinstance(said, dict) else set()
        if missing := sorted(name for name in names if "/" in name or not (folder / name).is_file()):
            raise ConfigError(f"'{folder}' lacks '{missing[0][:80]}', which its index names; copy it again")
    if not isinstance(config.get("model_type"), str):
        raise ConfigError(f"'{folder / CONFIG}' must say a 'model_type'; save the model with save_pretrained")
    return config


def _code_in(content: Any) -> Iterator[str]:
    """Yield what `auto_map` and `custom_pipelines` name, at any depth."""
    if isinstance(content, dict):
        for key, value in content.items():
            if key in ("auto_map", "custom_pipelines") and value:
                yield str(value)
            yield from _code_in(value)
    elif isinstance(content, list):
        for value in content:
            yield from _code_in(value)
