"""A model tried in a process of its own before it comes into this one.

A file that crashes its runtime, never returns or takes all memory ends that process and not the caller's. Both speak by
files in a folder of their own, JSON and .npz: `request.json` and `inputs.npz` go in, `result.json` comes out.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perf_inference.bringup import search_path
from perf_inference.engines import AS_IT_IS, AUTO, ArraySpec, EngineInfo, Options
from perf_inference.errors import ConfigError, EngineError, InputError
from perf_inference.measure.statistics import Distribution
from perf_inference.model_build.trial.difference import Difference

REQUEST, INPUTS, RESULT = "request.json", "inputs.npz", "result.json"
_CHILD = "perf_inference.model_build.trial.child"
_ERRORS = {error.__name__: error for error in (ConfigError, InputError, EngineError)}
_LOOK_S = 0.05
_LAST_WORDS = 300  # characters of what a child that died had written


@dataclass(frozen=True)
class Trial:
    """What a model did in the trial."""

    model: str  # what `engines.load` takes: the model itself or what was built of it
    info: EngineInfo
    inputs: tuple[ArraySpec, ...]
    outputs: tuple[ArraySpec, ...]
    file_bytes: int | None  # None: a server has it
    memory_bytes: int  # resident, that the runtime and the model added, after the runs
    peak_bytes: int  # the same at its highest, while loading
    load_ns: int
    infer_ns: tuple[int, ...]  # each run after the warm-up
    difference: Difference | None  # from fp32; None: it is fp32, or there is none to compare with
    no_difference: str = ""  # why not

    @property
    def infer(self) -> Distribution:
        """The runs as a distribution."""
        return Distribution.of(self.infer_ns)


def try_out(
    model: str,
    runtime: str = AUTO,
    options: Options = AS_IT_IS,
    inputs: Mapping[str, NDArray[Any]] | None = None,
    timeout_s: float = 120.0,
    runs: int = 20,
    reference: str | None = None,
    cancelled: Callable[[], bool] = lambda: False,
    nice: int = 10,
) -> Trial:
    """Prepare, load and run the model in a process of its own and return what it did.

    Args:
        inputs: what to run it on; random ones that fit its specs otherwise (images 0 to 255, floats of N(0, 1)).
        timeout_s: of all of it.
        runs: timed ones, after the warm-up; fewer where they take long.
        cancelled: asked again and again; once it is true the trial is ended, with a ConfigError.
        reference: the model from whose outputs in fp32 the difference is taken, where that is another one.
        nice: of that process: 10 leaves the processor to those who need it.

    Raises:
        ConfigError: it cannot be prepared or loaded, crashed, was killed, or took too long.
        InputError: `inputs` do not fit it.
        EngineError: it failed on input that fits.
    """
    with tempfile.TemporaryDirectory(prefix="perf_inference_trial_") as name:
        folder = Path(name)
        if inputs is not None:
            np.savez(folder / INPUTS, *inputs.values())
        request = {
            "model": model,
            "runtime": runtime,
            "options": asdict(options),
            "runs": runs,
            "inputs": None if inputs is None else list(inputs),
            "reference": reference,
            "nice": nice,
            "parent": os.getpid(),
        }
        (folder / REQUEST).write_text(json.dumps(request), encoding="utf-8")
        status = _run(folder, model, timeout_s, cancelled)
        try:
            result = json.loads((folder / RESULT).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise ConfigError(f"{_how_it_died(model, status)}{_last_words(folder)}; the file may be damaged") from None
    if error := result.get("error"):
        raise _ERRORS.get(error["kind"], EngineError)(error["text"])
    return _trial(result)


def _run(folder: Path, model: str, timeout_s: float, cancelled: Callable[[], bool]) -> int:
    """Run the child; return its exit status."""
    # What it makes outside the cache goes with the folder: it ends without clearing up.
    environment = {**os.environ, **search_path.of_children(os.environ), "TMPDIR": str(folder)}
    with (folder / "output.txt").open("wb") as output:
        # Nothing is run between fork and exec (no preexec_fn): safe and quick in a process with threads.
        child = subprocess.Popen(
            [sys.executable, "-m", _CHILD, str(folder)],
            env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            deadline_s = time.monotonic() + timeout_s
            while not cancelled():
                with contextlib.suppress(subprocess.TimeoutExpired):
                    return child.wait(_LOOK_S)
                if time.monotonic() > deadline_s:
                    raise ConfigError(
                        f"the trial of '{model}' took longer than {timeout_s:.0f} s and was ended{_last_words(folder)}"
                    )
            raise ConfigError(f"the trial of '{model}' was ended: nobody waits for it any more")
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()


def _how_it_died(model: str, status: int) -> str:
    if status == -signal.SIGKILL:
        return f"'{model}' was killed in its trial, as the kernel does where memory runs out"
    if status < 0:
        return f"'{model}' crashed its runtime in its trial ({signal.Signals(-status).name})"
    return f"the trial of '{model}' ended with status {status}"


def _last_words(folder: Path) -> str:
    try:
        text = (folder / "output.txt").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return f": {lines[-1][:_LAST_WORDS]}" if lines else ""


def _trial(result: Mapping[str, Any]) -> Trial:
    said = result["difference"]
    return Trial(
        model=result["model"],
        info=EngineInfo(**result["info"]),
        inputs=_specs(result["inputs"]),
        outputs=_specs(result["outputs"]),
        file_bytes=result["file_bytes"],
        memory_bytes=result["memory_bytes"],
        peak_bytes=result["peak_bytes"],
        load_ns=result["load_ns"],
        infer_ns=tuple(result["infer_ns"]),
        difference=None if said is None else Difference(**said),
        no_difference=result["no_difference"],
    )


def _specs(listed: Any) -> tuple[ArraySpec, ...]:
    return tuple(ArraySpec(name, tuple(shape), np.dtype(dtype), owned) for name, shape, dtype, owned in listed)
