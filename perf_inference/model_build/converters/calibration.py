"""The inputs that int8 takes the ranges of its activations from: a folder of .npz files, or of images."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perf_inference.engines.engine import ArraySpec, check_inputs
from perf_inference.errors import ConfigError, InputError, in_one_line

AT_MOST = 256  # inputs; more change nothing and take memory
_PICTURES = (".bmp", ".jpeg", ".jpg", ".png")

Inputs = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Calibration:
    """Inputs as the model will meet them, and the hash of their content."""

    inputs: tuple[Inputs, ...] = ()
    sha256: str = ""

    @classmethod
    def of(cls, inputs: Sequence[Inputs]) -> Calibration:
        """Return these inputs with their hash."""
        digest = hashlib.sha256()
        for arrays in inputs:
            for name, array in sorted(arrays.items()):
                digest.update(f"{name} {array.dtype} {array.shape} ".encode() + np.ascontiguousarray(array).tobytes())
        return cls(tuple(inputs), digest.hexdigest() if inputs else "")


NONE = Calibration()


def read_folder(folder: Path, specs: Sequence[ArraySpec]) -> Calibration:
    """Return the inputs that lie in a folder: .npz files with one array for each input, or images for one input.

    Images are scaled to the input's size (letters and bars are the task's matter: where they count, give .npz files),
    BGR for uint8 [1, H, W, 3], RGB in 0..1 for float [1, 3, H, W].

    Raises:
        ConfigError: no such files, or one that does not fit the model.
    """
    found = sorted(path for path in folder.glob("*") if path.suffix.lower() in (".npz", *_PICTURES))
    if not found:
        raise ConfigError(f"calibration '{folder}' must be a folder with .npz files or images, it has none")
    kinds = {path.suffix.lower() == ".npz" for path in found}
    if len(kinds) > 1:
        raise ConfigError(f"calibration '{folder}' has both .npz files and images; keep one kind")
    step = max(1, len(found) // AT_MOST)
    chosen = found[::step][:AT_MOST]
    return Calibration.of([_read(path, specs) for path in chosen])


def _read(path: Path, specs: Sequence[ArraySpec]) -> Inputs:
    arrays = _read_arrays(path) if path.suffix.lower() == ".npz" else _read_image(path, specs)
    try:
        check_inputs(specs, arrays)
    except InputError as error:
        raise ConfigError(f"calibration '{path}' does not fit the model: {error}") from error
    return {spec.name: arrays[spec.name] for spec in specs}


def _read_arrays(path: Path) -> Inputs:
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except Exception as error:  # NumPy's, zipfile's and zlib's own kinds, and no memory for what a header says
        raise ConfigError(f"calibration '{path}' is no .npz file of plain arrays: {in_one_line(error)}") from error


def _read_image(path: Path, specs: Sequence[ArraySpec]) -> Inputs:
    import cv2

    from perf_inference.files.images import read_image

    if len(specs) != 1 or len(specs[0].shape) != 4 or 3 not in (specs[0].shape[1], specs[0].shape[3]):
        wanted = ", ".join(f"{spec.name} {list(spec.shape)}" for spec in specs)
        raise ConfigError(f"images can calibrate only a model with one image for input; this takes {wanted}: give .npz")
    spec = specs[0]
    try:
        image = read_image(path, bmp=True)
    except InputError as error:
        raise ConfigError(f"calibration: {error}") from error
    first = spec.shape[1] == 3
    height, width = spec.shape[2:4] if first else spec.shape[1:3]
    image = cv2.resize(image, (width or 640, height or 640), interpolation=cv2.INTER_AREA)
    array = image if spec.dtype == np.uint8 else (image[..., ::-1] / 255.0).astype(spec.dtype)
    return {spec.name: np.ascontiguousarray(array.transpose(2, 0, 1) if first else array)[None]}
