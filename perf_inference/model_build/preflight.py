"""What can be said of a model within milliseconds, before anything is loaded: `check`."""

from __future__ import annotations

from pathlib import Path

from perf_inference.engines import AS_IT_IS, Options
from perf_inference.engines.runtimes import AUTO, Runtime, check_device
from perf_inference.errors import ConfigError
from perf_inference.model_build import content, file_check, precision
from perf_inference.model_build.plan import Plan, resolve

_WORKING_BYTES = 64 << 20  # activations, buffers and the runtime's own, of a small model


def check(model: str | Plan, runtime: str = AUTO, options: Options = AS_IT_IS) -> None:
    """Raise ConfigError, with the reason, for what cannot run here; no library is imported for it.

    It looks at: the file (there, readable, of the format that its suffix says, not cut), the runtime (installed), the
    precision (possible for it), the device (there), and the memory free beside what runs now.
    """
    made = resolve(model, runtime, options)
    if made.source is not None:
        file_check.check_format(made.source)
    wanted = made.runtime
    if not wanted.installed:
        raise ConfigError(f"runtime '{wanted.name}' needs {wanted.library}, which is not installed: {wanted.install}")
    _check_device(wanted, made.options.device)
    if made.source is not None:
        _check_memory(made)


def _check_device(runtime: Runtime, device: str) -> None:
    check_device(runtime, device)
    if device.startswith(("cuda", "dla")) and not any(
        map(Path.exists, map(Path, ("/dev/nvidiactl", "/dev/nvmap", "/dev/dxg")))
    ):
        raise ConfigError(f"device '{device}' is not here: no NVIDIA driver is loaded (nvidia-smi says more); set cpu")


def _check_memory(made: Plan) -> None:
    """Compare what a second model takes with what is free: the file while it is read, and the weights as they run."""
    import psutil  # 10 ms, in every process

    assert made.source is not None
    file_bytes = content.size_bytes(made.source)
    weights_bytes = file_bytes * precision.bytes_of(made.options.precision) // precision.bytes_of(made.stored)
    needed, available = file_bytes + weights_bytes + _WORKING_BYTES, psutil.virtual_memory().available
    if needed > available:
        parts = f"{file_bytes / 1e6:.0f} MB of file and {weights_bytes / 1e6:.0f} MB of weights"
        raise ConfigError(
            f"'{made.source}' needs about {needed / 1e6:.0f} MB beside what runs now ({parts}), but "
            f"{available / 1e6:.0f} MB are free; end something, or take a smaller model or precision"
        )
