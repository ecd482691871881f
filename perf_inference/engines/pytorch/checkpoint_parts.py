"""What training scripts leave in a checkpoint beside weights by name: nested parts, pruning's masks, vocabularies."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perf_inference.errors import ConfigError, in_one_line
from perf_inference.files.regular import open_regular

VOCABULARY = "words.json"
ENCODER = "encoder.onnx"
COMPANIONS = (VOCABULARY, ENCODER)
"""Files in a checkpoint's folder that a captioner's weights may go with."""
_NESTED = re.compile(r"(encoder|decoder)(_state_dict|_state|_model|_model_state_dict)?")
_VOCABULARIES = ("vocabulary", "vocab", "words", "word_map", "wordmap", "word2idx", "word_to_idx", "stoi", "itos",
                 "idx2word", "idx_to_word")  # fmt: skip
_WORDS_BYTES, _ENCODER_BYTES = 64 << 20, 2 << 30


def joined(content: Any, module: Any) -> Any:
    """Return the weights of an encoder and a decoder that lie apart as those of one network."""
    if not isinstance(content, Mapping):
        return content
    parts = {}
    for key, value in content.items():
        if found := _NESTED.fullmatch(str(key)):
            value = value.state_dict() if isinstance(value, module) else value
            if isinstance(value, Mapping) and value:
                parts[found[1]] = value
    if "decoder" not in parts:
        return content
    together = {}
    for name, weights in parts.items():
        wrapped = all(str(key).startswith("module.") for key in weights)
        for key, tensor in weights.items():
            together[f"{name}.{str(key).removeprefix('module.') if wrapped else key}"] = tensor
    return together


def unmasked(weights: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
    """Return the weights with those that pruning split (`NAME_orig`, `NAME_mask`) multiplied.

    Raises:
        ConfigError: one half of such a pair is missing, or they do not fit.
    """
    halves = {str(name).removesuffix("_orig") for name in weights if str(name).endswith("_orig")}
    if not halves:
        return weights
    whole = {}
    for name, tensor in weights.items():
        base = str(name).removesuffix("_orig").removesuffix("_mask")
        if base not in halves or base == name:
            whole[name] = tensor
            continue
        mask = weights.get(f"{base}_mask")
        if mask is None or getattr(mask, "shape", None) != getattr(weights.get(f"{base}_orig"), "shape", ()):
            raise ConfigError(
                f"'{path}' has '{base}_orig' without a mask of its shape ('{base}_mask'); save it after prune.remove"
            )
        whole[base] = weights[f"{base}_orig"] * mask.to(weights[f"{base}_orig"].dtype)
    return whole


def vocabulary_in(content: Any) -> str:
    """Return the vocabulary that a checkpoint holds as a JSON list of words, or nothing."""
    if isinstance(content, Mapping):
        for key in _VOCABULARIES:
            if key not in content:
                continue
            if nested := vocabulary_in(content[key]):  # {"stoi": {...}, "itos": [...]}
                return nested
            if words := words_of(content[key]):
                return json.dumps(words)
    return ""


def without_vocabulary(weights: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return the weights without the vocabulary that stood among them."""
    return {name: value for name, value in weights.items() if name not in _VOCABULARIES or hasattr(value, "shape")}


def vocabulary_beside(path: Path) -> dict[str, str]:
    """Return the metadata of the file `words.json` in the checkpoint's folder; empty: there is none.

    Raises:
        ConfigError: it is no list of words and no map of words to numbers.
    """
    beside = path.parent / VOCABULARY
    if not beside.is_file():
        return {}
    try:
        with open_regular(beside) as file:
            content = json.loads(file.read(_WORDS_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"'{beside}' must be JSON: {in_one_line(error)}") from error
    words = words_of(content) or words_of(json.loads(vocabulary_in(content) or "null"))
    if not words:
        raise ConfigError(
            f"'{beside}' must be a list of words in the order of their numbers, or a map of words to them"
        )
    return {"vocabulary": json.dumps(words)}


def encoder_beside(path: Path) -> bytes:
    """Return the content of the file `encoder.onnx` in the checkpoint's folder; empty: there is none.

    Raises:
        ConfigError: it cannot be read, or has over 2 GiB.
    """
    beside = path.parent / ENCODER
    if not beside.is_file():
        return b""
    try:
        with open_regular(beside) as file:
            content = file.read(_ENCODER_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"'{beside}' cannot be read: {error.strerror or error}") from error
    if not 0 < len(content) <= _ENCODER_BYTES:
        raise ConfigError(f"'{beside}' must be an ONNX model of at most 2 GiB, got {len(content)} bytes")
    return content


def words_of(content: Any) -> list[str]:
    """Return the words in their order, of a list, of word -> number or of number -> word; empty: it is neither."""
    if isinstance(content, (list, tuple)):
        return list(content) if content and all(isinstance(word, str) for word in content) else []
    if not isinstance(content, Mapping) or not content:
        return []
    pairs = list(content.items())
    if all(isinstance(key, str) and type(value) is int for key, value in pairs):
        numbered = {value: key for key, value in pairs}
    elif all(isinstance(value, str) and str(key).isdecimal() for key, value in pairs):
        numbered = {int(key): value for key, value in pairs}
    else:
        return []
    most = max(numbered)
    if min(numbered) < 0 or most >= 10 * len(numbered) + 100:
        return []
    return [numbered.get(number, "<unk>") for number in range(most + 1)]
