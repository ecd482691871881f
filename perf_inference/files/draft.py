"""A contract that is being written: plain values, some of which are `REQUIRED: why`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from perf_inference.errors import ConfigError

REQUIRED = "REQUIRED"
_WIDTH = 120


def required(why: str) -> str:
    """Return what stands for a value that cannot be derived; `why` says what belongs there."""
    return f"{REQUIRED}: {why}"


def left_open(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield (path, sentence) of each value that is still to be filled in."""
    if isinstance(value, str) and value.startswith(REQUIRED):
        yield path, value.removeprefix(REQUIRED).lstrip(": ")
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from left_open(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from left_open(inner, f"{path}[{i}]")


def refuse_left_open(value: Any, where: str) -> None:
    """Raise ConfigError where a value is still to be filled in."""
    if found := list(left_open(value)):
        said = "; ".join(f"{path} ({sentence})" if sentence else path for path, sentence in found)
        raise ConfigError(f"{where}: {len(found)} of its values {'is' if len(found) == 1 else 'are'} REQUIRED and must "
                          f"be filled in: {said}")  # fmt: skip


def as_yaml(draft: Mapping[str, Any], said: Sequence[str]) -> str:
    """Return the text of a contract, with these lines as comments at its head."""
    body = yaml.dump(
        {key: value for key, value in draft.items() if value not in (None, [])}, Dumper=_Plain, sort_keys=False,
        default_flow_style=None, width=_WIDTH, allow_unicode=True,
    )  # fmt: skip
    head = "".join(f"# {line}\n" for line in said)
    return head + body


class _Plain(yaml.SafeDumper):
    """Writes no anchors: a contract is filled in by hand."""

    def ignore_aliases(self, data: Any) -> bool:
        return True
