"""A camera's calibration, as camera_calibration_parsers writes it to YAML.

image_width, image_height, camera_name
camera_matrix, rectification_matrix, projection_matrix, distortion_coefficients: {rows, cols, data}
distortion_model: plumb_bob, rational_polynomial, equidistant
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perf_inference.errors import ConfigError
from perf_inference.files.bounded_yaml import MOST_BYTES, YamlError, read_yaml

_COEFFICIENTS = {"plumb_bob": (4, 5), "rational_polynomial": (8, 12, 14), "equidistant": (4,)}
_IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
_MOST_PX = 1 << 15


@dataclass(frozen=True)
class Calibration:
    """The fields of sensor_msgs/CameraInfo, row by row."""

    width_px: int
    height_px: int
    model: str
    d: tuple[float, ...]
    k: tuple[float, ...]  # 3x3
    r: tuple[float, ...]  # 3x3
    p: tuple[float, ...]  # 3x4
    camera_name: str = ""


def read_calibration(name: str) -> Calibration:
    """Return the calibration of a file: a path, or `file:///path` as camera_info_manager has it.

    Raises:
        ConfigError: it cannot be read, or is no calibration.
    """
    path = Path(name.removeprefix("file://")).expanduser()
    try:
        with path.open("rb") as file:
            said = read_yaml(file.read(MOST_BYTES + 1))
    except OSError as error:
        raise ConfigError(f"calibration must be a readable YAML file, got {path}: {error.strerror}") from error
    except YamlError as error:
        raise ConfigError(f"calibration {path} is no YAML: {error}") from error
    try:
        return _calibration(said)
    except ValueError as error:
        raise ConfigError(
            f"calibration {path} must be as camera_calibration writes it: {error}; calibrate again, or correct the file"
        ) from None


def _calibration(said: Any) -> Calibration:
    if not isinstance(said, dict):
        raise ValueError(f"it is {type(said).__name__} and no mapping")
    width_px, height_px = (_size(said, name) for name in ("image_width", "image_height"))
    k = _matrix(said, "camera_matrix", 3, 3)
    if not (k[0] > 0 and k[4] > 0):
        raise ValueError(f"camera_matrix must have focal lengths above 0, it has {k[0]:g} and {k[4]:g}")
    model = said.get("distortion_model", "plumb_bob")
    if not isinstance(model, str) or not model.isidentifier():
        raise ValueError(f"distortion_model must be a name such as plumb_bob, it is {str(model)[:50]!r}")
    d = _row(said, "distortion_coefficients")
    if len(d) not in _COEFFICIENTS.get(model, (len(d),)):
        wanted = " or ".join(map(str, _COEFFICIENTS[model]))
        raise ValueError(f"distortion_coefficients of {model} must be {wanted} numbers, they are {len(d)}")
    r = _matrix(said, "rectification_matrix", 3, 3) if "rectification_matrix" in said else _IDENTITY
    if "projection_matrix" in said:
        p = _matrix(said, "projection_matrix", 3, 4)
    else:
        p = (*k[:3], 0.0, *k[3:6], 0.0, *k[6:], 0.0)
    return Calibration(width_px, height_px, model, d, k, r, p, str(said.get("camera_name", ""))[:100])


def _size(said: Mapping[str, Any], name: str) -> int:
    value = said.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _MOST_PX:
        raise ValueError(f"{name} must be a number of pixels, it is {str(value)[:50]!r}")
    return value


def _row(said: Mapping[str, Any], name: str) -> tuple[float, ...]:
    found = said.get(name)
    data = found.get("data") if isinstance(found, dict) else None
    if not isinstance(data, list) or not all(
        isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in data
    ):
        raise ValueError(f"{name} must have rows, cols and data of numbers")
    assert isinstance(found, dict)
    if found.get("rows", 1) * found.get("cols", len(data)) != len(data):
        raise ValueError(f"{name} says {found.get('rows')}x{found.get('cols')} and has {len(data)} numbers")
    return tuple(map(float, data))


def _matrix(said: Mapping[str, Any], name: str, rows: int, columns: int) -> tuple[float, ...]:
    data = _row(said, name)
    if len(data) != rows * columns:
        raise ValueError(f"{name} must be {rows}x{columns}, it has {len(data)} numbers")
    return data
