"""What an exported model says of itself, in formats that keep no names and no precision of their own.

    {"name": "policy", "precision": "fp16", "inputs": [{"name": "joints", "shape": [null, 4], "dtype": "float32"}],
     "outputs": [...], "metadata": {"task": "policy"}}

It travels as the extra file `metadata.json` inside .torchscript and .pt2 files, and beside those of TensorRT.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from perf_inference.engines.engine import PRECISIONS, ArraySpec
from perf_inference.errors import ConfigError, in_one_line

CARD_FILE = "metadata.json"
DTYPES = ("float32", "float16", "float64", "uint8", "int8", "int16", "int32", "int64", "bool")
_MOST_DIMENSIONS, _LONGEST_DIMENSION = 32, 2**31


@dataclass(frozen=True)
class ModelCard:
    """The name, precision and arrays of an exported model; `metadata` is what its task knows of it."""

    name: str
    precision: str  # one of PRECISIONS
    inputs: tuple[ArraySpec, ...]  # in the order in which the model takes them
    outputs: tuple[ArraySpec, ...]  # in the order in which it returns them
    metadata: Mapping[str, str]

    def to_json(self) -> str:
        """Return the text of `metadata.json`; what an output's spec says of `owned` is the engine's and left out."""
        card = {
            "name": self.name,
            "precision": self.precision,
            "inputs": [_as_json(spec) for spec in self.inputs],
            "outputs": [_as_json(spec) for spec in self.outputs],
            "metadata": dict(self.metadata),
        }
        return json.dumps(card, indent=1)

    @classmethod
    def from_json(cls, text: str | bytes, where: str) -> ModelCard:
        """Return the card of such a text; `where` is the file that the message names.

        Raises:
            ConfigError: the text is no card.
        """
        try:
            card = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ConfigError(
                f"{CARD_FILE} of '{where}' is no JSON ({in_one_line(error)}); export the model again"
            ) from error
        try:
            metadata = card["metadata"]
            if not all(isinstance(value, str) for value in metadata.values()):
                raise ValueError("metadata must map words to words")
            if card["precision"] not in PRECISIONS:
                raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {card['precision']!r}")
            return cls(
                str(card["name"]), card["precision"], _specs(card["inputs"]), _specs(card["outputs"]), dict(metadata)
            )
        except KeyError as error:
            raise ConfigError(f"{CARD_FILE} of '{where}' has no {error}; export the model again") from error
        except (AttributeError, TypeError, ValueError) as error:
            raise ConfigError(
                f"{CARD_FILE} of '{where}' is no model card ({in_one_line(error)}); export the model again"
            ) from error


def _as_json(spec: ArraySpec) -> dict[str, Any]:
    return {"name": spec.name, "shape": list(spec.shape), "dtype": spec.dtype.name}


def _specs(listed: Sequence[Mapping[str, Any]]) -> tuple[ArraySpec, ...]:
    specs = tuple(_spec(entry) for entry in listed)
    if not specs or len({spec.name for spec in specs}) < len(specs):
        raise ValueError("inputs and outputs must be there, each with a name of its own")
    return specs


def _spec(entry: Mapping[str, Any]) -> ArraySpec:
    shape, dtype = entry["shape"], entry["dtype"]
    if dtype not in DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype!r}")
    fits = isinstance(shape, list) and len(shape) <= _MOST_DIMENSIONS
    if not fits or not all(n is None or (type(n) is int and 0 <= n < _LONGEST_DIMENSION) for n in shape):
        raise ValueError(f"shape must be a list of lengths, null for any, got {shape!r:.80}")
    return ArraySpec(str(entry["name"]), tuple(shape), np.dtype(dtype))
