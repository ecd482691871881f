"""The library pyarrow: the only import of it."""

from __future__ import annotations

import importlib
from typing import Any

from perf_inference import missing
from perf_inference.errors import ConfigError


def pyarrow() -> Any:
    """Return pyarrow with its module `parquet`.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise ConfigError(
            f"Parquet needs pyarrow, which cannot be imported ({error}); {missing.extra('parquet')}"
        ) from error
    return importlib.import_module("pyarrow")
