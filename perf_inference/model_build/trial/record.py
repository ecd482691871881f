"""A model that this machine has not run yet is tried in a process of its own before a node starts with it."""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path

from perf_inference._version import installed
from perf_inference.engines import AS_IT_IS, AUTO, MODELS, Options
from perf_inference.errors import EngineError, InputError
from perf_inference.files.private import is_own_file
from perf_inference.model_build import cache, content
from perf_inference.model_build.plan import Plan, resolve
from perf_inference.model_build.trial.trial import try_out

_PROVED = "proved"


def prove(model: str | Plan, runtime: str = AUTO, options: Options = AS_IT_IS) -> None:
    """Return when the model is known to run, or to fail in an orderly way, under this runtime on this machine.

    What was tried once is not tried again: the cache remembers its content, the runtime's version, precision and
    device. The embedded models and those on a server are taken at their word, and LeRobot
    has a process of its own anyway.

    Raises:
        ConfigError: it cannot be loaded, or brought down the process that tried.
    """
    made = resolve(model, runtime, options)
    if made.source is None or made.source.parent == MODELS or made.runtime.name == "lerobot":
        return
    mark = cache.root() / _PROVED / _digest(made, made.source)
    if cache.is_trusted(_PROVED) and is_own_file(mark):
        return
    with contextlib.suppress(EngineError, InputError):  # of inputs at random; the task's own will tell
        try_out(made.model, made.runtime.name, made.options, runs=1)
    with contextlib.suppress(OSError):  # it will be tried again, then
        (cache.folder(_PROVED) / mark.name).touch()


def _digest(made: Plan, source: Path) -> str:
    options, of_the_library = made.options, installed(made.runtime.library) or ""
    sha256 = content.content_hash(content.files_of(source), cache.hashes())
    parts = [
        sha256,
        source.suffix,
        made.runtime.name,
        of_the_library,
        options.precision,
        options.device,
        *options.providers,
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
