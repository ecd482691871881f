"""The networks whose checkpoints the runtime `torch` takes.

A checkpoint holds weights and the name of its network, never code. The network is built by a function that a package
registers under that name as an entry point of the group `perf_inference.architectures`:

    [project.entry-points."perf_inference.architectures"]
    my_policy = "my_package.networks:my_policy"

The function reads every size from the weights, so that a pruned checkpoint loads as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from perf_inference.engines.engine import ArraySpec
from perf_inference.engines.model_file import MODELS
from perf_inference.entry_points import entry_points
from perf_inference.errors import ConfigError, PerfInferenceError, in_one_line

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "perf_inference.architectures"
_OWN = MODELS / "networks.txt"  # of the embedded models, also where the package is not installed but only on the path


class Part(NamedTuple):
    """Where the units of a group lie in one weight: along `dim`, from `start` on."""

    weight: str  # its name in the state dict
    dim: int
    start: int = 0


class Group(NamedTuple):
    """Units (channels, hidden states) that can only be taken out of all their weights together."""

    name: str
    units: int
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Architecture:
    """A network with its weights."""

    module: Any  # torch.nn.Module in eval mode, on the CPU, fp32
    inputs: tuple[ArraySpec, ...]  # in the order of forward's arguments
    outputs: tuple[str, ...]  # names, in the order of what forward returns
    groups: tuple[Group, ...] = ()  # what structured pruning may take out
    metadata: Mapping[str, str] = field(default_factory=dict)  # what its task must know beside the checkpoint's
    own_names: bool = True  # False: the builder has renamed the weights, and seen to it that none is left over


# (weights: state dict of tensors, metadata: what the checkpoint says of itself) -> Architecture
Builder = Callable[[Mapping[str, Any], Mapping[str, str]], Architecture]
_registered: dict[str, Builder] = {}
_SIGNS = {"attention_lstm": re.compile(r"(^|\.)attention\.(encoder_att|U)\.weight$")}
"""Weights' names by which a network is known whose checkpoints do not name it."""


def register(name: str, builder: Builder) -> None:
    """Make a network known in this process."""
    _registered[name] = builder


def names() -> list[str]:
    """Return the names of all networks that are known here."""
    return sorted({*_registered, *(point.name for point in _points())})


def _points() -> list[EntryPoint]:
    from importlib.metadata import EntryPoint  # 25 ms, in every process

    own = (line.split(" = ") for line in _OWN.read_text().splitlines())
    return [*entry_points(group=GROUP), *(EntryPoint(name, value, GROUP) for name, value in own)]


def recognised(weights: Iterable[str]) -> str:
    """Return which network weights of these names are of, where they say it; empty: they do not."""
    weights = tuple(weights)
    return next((name for name, sign in _SIGNS.items() if any(map(sign.search, weights))), "")


def has_vocabulary(name: str) -> bool:
    """Return whether the network of this name says words, which may stand in a file beside its weights."""
    return name in _SIGNS


def builder_of(name: str) -> Builder:
    """Return the function that builds this network.

    Raises:
        ConfigError: none is registered under this name.
    """
    if name in _registered:
        return _registered[name]
    for point in _points():
        if point.name == name:
            try:
                found: Builder = point.load()
            except (Exception, SystemExit) as error:  # whatever a module does when it is imported
                raise ConfigError(
                    f"architecture '{name}' cannot be imported from {point.value} ({type(error).__name__}: "
                    f"{in_one_line(error)}); install the package that registers it again"
                ) from error
            return found
    raise ConfigError(
        f"architecture '{name}' is not registered (known: {', '.join(names())}); register it as an entry point of the "
        f"group {GROUP}"
    )


def build(name: str, weights: Mapping[str, Any], metadata: Mapping[str, str]) -> Architecture:
    """Return the network of this name with these weights.

    Raises:
        ConfigError: no such network, or one that these weights do not fit: some missing, left over or of another shape.
    """
    builder = builder_of(name)
    try:
        built = builder(weights, metadata)
    except PerfInferenceError:
        raise
    except Exception as error:  # whatever a builder does with weights that are not its own
        why = f"it has no {in_one_line(error)}" if isinstance(error, KeyError) else in_one_line(error)
        raise ConfigError(f"the checkpoint does not fit architecture '{name}': {why}") from error
    if not built.own_names:
        return built
    have = built.module.state_dict()
    for text, keys in (
        ("it has no", have.keys() - weights.keys()),
        ("the network has no", weights.keys() - have.keys()),
        ("of another shape:", {key for key in have if key in weights and have[key].shape != weights[key].shape}),
    ):
        if keys:
            named = ", ".join(repr(key) for key in sorted(keys)[:3]) + (
                f" and {len(keys) - 3} more" if len(keys) > 3 else ""
            )
            raise ConfigError(f"the checkpoint does not fit architecture '{name}': {text} {named}")
    return built
