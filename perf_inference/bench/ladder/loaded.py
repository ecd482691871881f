"""The variants as engines, and why one of them is none; and the arrays that they run on."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perf_inference import model_build
from perf_inference.bench.ladder.plan import RATE_HZ, Variant, is_audio
from perf_inference.bench.results.engines import inputs_of
from perf_inference.bench.results.progress import Progress
from perf_inference.devices.process_memory import resident_bytes
from perf_inference.engines import ArraySpec, Engine
from perf_inference.errors import ConfigError, InputError, PerfInferenceError
from perf_inference.tasks.audio.sound_file import read_sound, resampled

Arrays = Mapping[str, NDArray[Any]]
_WARM_UP = 3


@dataclass
class Loaded:
    """A variant, and its engine; None where it cannot run, and `why`."""

    variant: Variant
    engine: Engine | None = None
    why: str = ""
    call_s: float = 0.0  # of one call, by the last of three
    memory_mb: tuple[float, float] = (0.0, 0.0)  # of this process: before it was loaded, and after its first calls
    data: Arrays | None = None  # the user's own

    def inputs(self, batch: int, samples: int, shapes: Sequence[tuple[str, tuple[int, ...]]]) -> Arrays:
        """Return inputs of this batch, and of so many samples of audio."""
        assert self.engine is not None
        given = dict(shapes)
        for spec in self.engine.inputs:
            if spec.name not in given and None in spec.shape:
                given[spec.name] = _shape(spec, batch, samples)
        made = dict(inputs_of(self.engine, tuple(given.items())))
        for name, own in (self.data or {}).items():
            if name in made:
                made[name] = np.resize(own, made[name].shape).astype(made[name].dtype)
        return made


def load_variants(variants: Sequence[Variant], options: argparse.Namespace, stack: ExitStack) -> list[Loaded]:
    """Load all that can run, each once, and run it three times; `stack` closes them."""
    progress = Progress("ladder: loading", len(variants))
    found = []
    for number, variant in enumerate(variants):
        progress.show(number, variant.name)
        one = Loaded(variant, why=variant.why_not)
        found.append(one)
        if variant.why_not:
            continue
        before = resident_bytes() / 1e6
        try:
            one.engine = stack.enter_context(closing(model_build.load(options.model, variant.runtime, variant.options)))
            one.data = _own_data(one.engine.inputs, options)
            inputs = one.inputs(1, RATE_HZ, options.shape)
            for _ in range(_WARM_UP):
                start_s = time.monotonic()
                one.engine.infer(inputs)
                one.call_s = time.monotonic() - start_s
        except ConfigError as error:
            one.engine, one.why = None, str(error)
            if options.audio or options.images:
                _check_data(options)
        except (PerfInferenceError, MemoryError) as error:
            one.engine, one.why = None, str(error) or type(error).__name__
        one.memory_mb = (before, resident_bytes() / 1e6)
    progress.close()
    return found


def _shape(spec: ArraySpec, batch: int, samples: int) -> tuple[int, ...]:
    lengths = list(spec.shape)
    if lengths[0] is None:
        lengths[0] = batch
    if is_audio([spec]) and lengths[1] is None:
        lengths[1] = samples or RATE_HZ
    if None in lengths:
        raise ConfigError(
            f"input '{spec.name}' has free axes {list(spec.shape)}: give them with --shape {spec.name}=..."
        )
    return tuple(int(length or 0) for length in lengths)


def _own_data(inputs: Sequence[ArraySpec], options: argparse.Namespace) -> Arrays | None:
    if options.audio:
        if not is_audio(inputs):
            raise ConfigError(f"--audio is for a model whose one input is audio; this one takes {inputs[0].name}")
        return {inputs[0].name: read_own_sound(options.audio)}
    if options.images:
        spec = next((spec for spec in inputs if len(spec.shape) == 4), None)
        if spec is None:
            raise ConfigError("--images is for a model with an image among its inputs")
        return {spec.name: read_images(options.images, spec)}
    return None


def _check_data(options: argparse.Namespace) -> None:
    """Raise ConfigError where the user's own data cannot be read: that is no variant's fault."""
    if options.audio:
        read_own_sound(options.audio)
    elif not options.images.is_dir():
        raise ConfigError(f"--images must be a folder, got {options.images}")


def read_own_sound(path: Path) -> NDArray[np.float32]:
    """Return the samples of a WAV or FLAC file of any rate and number of channels, as one channel at 16 kHz.

    Raises:
        ConfigError: it cannot be read, or what is needed for it is not installed.
    """
    try:
        return resampled(read_sound(path), RATE_HZ).samples
    except InputError as error:
        raise ConfigError(f"--audio: {error}") from error


def read_images(folder: Path, spec: ArraySpec) -> NDArray[Any]:
    """Return the images of a folder as an input of this spec: resized, [0, 1] where it is a float.

    Raises:
        ConfigError: there is none that can be read.
    """
    import cv2

    last = spec.shape[-1] == 3
    height, width = spec.shape[1:3] if last else spec.shape[2:4]
    if height is None or width is None:
        height, width = 640, 640
    read = (cv2.imread(str(path)) for path in sorted(folder.glob("*"))[:64] if path.is_file())
    found = [cv2.resize(image, (width, height))[..., ::-1] for image in read if image is not None]
    if not found:
        raise ConfigError(f"--images must be a folder with images that OpenCV reads, got {folder}")
    stacked = np.stack(found)
    stacked = stacked if last else stacked.transpose(0, 3, 1, 2)
    return stacked / np.float32(255) if spec.dtype.kind == "f" else stacked
