"""PyTorch: checkpoints of networks that are registered by name."""

from __future__ import annotations

from pathlib import Path

import torch

from perf_inference.engines import architectures
from perf_inference.engines.engine import PRECISIONS, Options
from perf_inference.engines.pytorch.checkpoint import load_checkpoint
from perf_inference.engines.pytorch.engine import Network, TorchEngine, find_device, refusals
from perf_inference.engines.pytorch.precision import in_precision
from perf_inference.errors import ConfigError


def open_engine(model: str, options: Options) -> TorchEngine:
    """Return an engine for a checkpoint.

    Raises:
        ConfigError: the file is no checkpoint of a known architecture, or does not run as the options say.
    """
    path = Path(model)
    checkpoint = load_checkpoint(path, options.allow_pickle)
    name = options.architecture or checkpoint.architecture
    if not name:
        raise ConfigError(
            f"'{path}' does not say which network its weights are for; set architecture to one of "
            f"{', '.join(architectures.names())}"
        )
    precision = checkpoint.precision if options.precision == "auto" else options.precision
    if precision not in PRECISIONS:
        raise ConfigError(f"precision must be auto or one of {', '.join(PRECISIONS)}, got '{precision}'")
    device = find_device(options.device, precision)
    built = architectures.build(name, checkpoint.weights, {**checkpoint.metadata, **options.generation()})
    count = sum(parameter.numel() for parameter in built.module.parameters())
    count += sum(getattr(part, "more_parameters", 0) for part in built.module.modules())
    with refusals(path.stem, precision, device):
        module = in_precision(built.module.eval().requires_grad_(False), precision).to(torch.device(device))
    return TorchEngine(
        Network(
            name=path.stem,
            runtime="torch",
            precision=precision,
            device=device,
            module=module,
            inputs=built.inputs,
            outputs=built.outputs,
            metadata={**checkpoint.metadata, **built.metadata, "architecture": name},
            parameters=count,
        ),
        options,
    )
