"""TorchScript: a network with its code, as `torch.jit.save` or Ultralytics' export writes it."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from perf_inference.engines.engine import ArraySpec, Options
from perf_inference.engines.model_card import CARD_FILE, ModelCard
from perf_inference.engines.pytorch.archive import read_archive
from perf_inference.engines.pytorch.engine import Network, TorchEngine, find_device, refusals
from perf_inference.errors import ConfigError, in_one_line

_CONFIG = "config.txt"  # what Ultralytics' export says of itself, in JSON
# What TorchScript's language has that reaches outside the network: files and other machines.
_REACHES_OUT = re.compile(rb"\b(?:torch|aten|ops\.aten)\.(save|from_file)\(|\b(rpc_\w+)\(")


def open_engine(model: str, options: Options) -> TorchEngine:
    """Return an engine for a TorchScript file.

    Raises:
        ConfigError: damaged, without a word on its inputs, or its code would touch files and is not trusted.
    """
    path = Path(model)
    files = read_archive(path, ("code/", "extra/"))
    if not any(name.startswith("code/") for name in files):
        raise ConfigError(f"'{path}' has no code in it, so it is no TorchScript; set runtime: torch for a checkpoint")
    reaching = [found for text in files.values() if text for found in _REACHES_OUT.findall(text)]
    if reaching and not options.allow_pickle:
        called = b"".join(reaching[0]).decode()
        raise ConfigError(
            f"the code in '{path}' calls {called}, with which it can write your files or reach other machines; set "
            "allow_pickle: true if you trust who made it"
        )
    card = _card(path, files)
    device = find_device(options.device, card.precision)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # TorchScript's own, in PyTorch 2.9 and later
            module = torch.jit.load(str(path), map_location=torch.device(device)).eval()
    except torch.cuda.OutOfMemoryError:
        with refusals(card.name, card.precision, device):
            raise
    except Exception as error:
        raise ConfigError(f"'{path}' is no TorchScript that PyTorch {torch.__version__} takes "
                          f"({_last_line(error)}); export it again") from error  # fmt: skip
    return TorchEngine(Network.of(card, "torchscript", device, module), options)


def _card(path: Path, files: dict[str, bytes | None]) -> ModelCard:
    if (text := files.get(f"extra/{CARD_FILE}")) is not None:
        return ModelCard.from_json(text, str(path))
    if (text := files.get(f"extra/{_CONFIG}")) is not None:
        try:
            return _ultralytics_card(path, json.loads(text))
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise ConfigError(f"{_CONFIG} in '{path}' is not what Ultralytics writes ({in_one_line(error)})") from error
    raise ConfigError(
        f"'{path}' does not say what its inputs are (it has neither {CARD_FILE} nor {_CONFIG}); export it with "
        "perf-inference build --runtime torchscript, or save it with torch.jit.save(..., _extra_files="
        f"{{'{CARD_FILE}': ...}})"
    )


def _ultralytics_card(path: Path, config: dict[str, Any]) -> ModelCard:
    """Return the card of a model that takes `images`, float32 [batch, 3, height, width] in 0 to 1."""
    height, width = (int(n) for n in (config["imgsz"] if isinstance(config["imgsz"], list) else [config["imgsz"]] * 2))
    batch = None if config.get("dynamic") or config.get("args", {}).get("dynamic") else int(config.get("batch", 1))
    if not (0 < height < 2**16 and 0 < width < 2**16 and (batch is None or 0 < batch < 2**16)):
        raise ValueError(f"imgsz {config['imgsz']}, batch {config.get('batch')}")
    words: dict[str, str] = {
        key: str(config[key]) for key in ("task", "stride", "imgsz", "batch", "version") if key in config
    }
    words["names"] = str({int(number): str(name) for number, name in config["names"].items()})  # as in its ONNX files
    images = ArraySpec("images", (batch, 3, height, width), np.dtype(np.float32))
    return ModelCard(path.stem, "fp32", (images,), (), words)


def _last_line(error: BaseException) -> str:
    """Return the last line: in front of it PyTorch puts where in its own code it was."""
    lines = str(error).strip().splitlines()
    return lines[-1].strip()[:300] if lines else type(error).__name__
