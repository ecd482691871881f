"""Take weights out of a network: whole units first, which makes it smaller and faster, then the smallest weights.

Units are ranked by the L2 norm of all weights that go with them, over every layer of their group (group pruning, Fang
et al. 2023, "DepGraph", arXiv:2301.12900), and the same share of every group goes: one threshold for all would empty
the narrow layers. Single weights are ranked over the whole network by LAMP, the magnitude in relation to what is left
of the layer (Lee et al. 2021, arXiv:2010.07611), which cannot empty a layer either.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from perf_inference.engines.architectures import Architecture, Group
from perf_inference.errors import ConfigError

LANES = 8
Weights = dict[str, Any]  # name -> torch.Tensor, fp32


class Count(NamedTuple):
    """How many parameters a network has."""

    parameters: int
    non_zero: int


def count(module: Any) -> Count:
    """Return how many parameters a module has; buffers are none."""
    parameters = [p.detach() for p in module.parameters()]
    return Count(sum(p.numel() for p in parameters), sum(int(p.count_nonzero()) for p in parameters))


def without_units(network: Architecture, share: float) -> Weights:
    """Return the weights without the weakest share of each group's units: smaller arrays.

    Args:
        share: of each group's units, [0, 1), as near as `units_left` comes.

    Raises:
        ConfigError: the share is no share, or the network names no groups.
    """
    _check_share("structured", share)
    weights: Weights = {name: value.clone() for name, value in network.module.state_dict().items()}
    if not share:
        return weights
    if not network.groups:
        raise ConfigError(
            "this network names no groups of units that go together, so none can be taken out: return `groups` in the "
            "Architecture that its registered function makes (perf_inference.engines.architectures), or prune with "
            "--structured 0"
        )
    learned = {name for name, _ in network.module.named_parameters()}
    gone: dict[tuple[str, int], set[int]] = defaultdict(set)
    for group in network.groups:
        weakest = _norms(weights, group, learned).argsort()[: group.units - units_left(group.units, share)].tolist()
        for part in group.parts:
            gone[part.weight, part.dim] |= {part.start + unit for unit in weakest}
    for (name, dim), places in gone.items():
        kept = [i for i in range(weights[name].shape[dim]) if i not in places]
        weights[name] = weights[name].index_select(dim, _indices(kept))
    return weights


def units_left(units: int, share: float) -> int:
    """Return how many units stay: from 16 units on the multiple of 8 that is nearest, below that at least one.

    CPUs' and GPUs' kernels work on 8 or 16 channels at a time, and an odd count costs what pruning wins: on one core
    of ONNX Runtime the captioner with 70 % of its units takes 1.35 ms as it comes, and 1.02 ms with multiples of 8.
    """
    wanted = (1 - share) * units
    if units < 2 * LANES:
        return max(1, round(wanted))
    return min(units, max(LANES, LANES * round(wanted / LANES)))


def without_small_weights(module: Any, share: float) -> Weights:
    """Return a module's weights with the share of the smallest set to zero; vectors (biases, normalisations) stay.

    Args:
        share: of all weights in matrices and kernels, [0, 1); zeros that are there already count.

    Raises:
        ConfigError: the share is no share.
    """
    import torch

    _check_share("magnitude", share)
    weights: Weights = {name: value.clone() for name, value in module.state_dict().items()}
    layers = [weights[name] for name in prunable(module)]
    if not layers or not share:
        return weights
    scores = torch.cat([_lamp(layer) for layer in layers])
    smallest = torch.zeros(len(scores), dtype=torch.bool)
    smallest[scores.topk(int(share * len(scores)), largest=False).indices] = True
    for layer, zero in zip(layers, smallest.split([layer.numel() for layer in layers]), strict=True):
        layer[zero.view_as(layer)] = 0.0
    return weights


def prunable(module: Any) -> list[str]:
    """Return the names of the weights that magnitude pruning looks at: matrices and kernels."""
    return [name for name, p in module.named_parameters() if p.ndim > 1 and p.is_floating_point()]


@contextmanager
def zeros_kept(module: Any) -> Iterator[None]:
    """Hold the zeros of the prunable weights at zero while the module is trained.

    Their gradients are zeroed, so any optimizer that starts here leaves them: no step, no momentum, and decay of zero
    is zero.
    """
    parameters = dict(module.named_parameters())
    hooks = []
    for name in prunable(module):
        mask = (parameters[name].detach() != 0).float()
        hooks.append(parameters[name].register_hook(lambda gradient, mask=mask: gradient * mask))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _norms(weights: Weights, group: Group, learned: set[str]) -> Any:
    """Return the squared norm [units] of what each unit has in all parts that are learned."""
    import torch

    total = torch.zeros(group.units)
    for part in group.parts:
        if part.weight in learned:
            units = weights[part.weight].narrow(part.dim, part.start, group.units).movedim(part.dim, 0)
            total += units.flatten(1).square().sum(1) if units.ndim > 1 else units.square()
    return total


def _lamp(layer: Any) -> Any:
    """Return each weight's square divided by the sum of the squares that are not smaller, flat."""
    squares, order = layer.flatten().double().square().sort()
    left = squares.flip(0).cumsum(0).flip(0)
    scores = squares.new_zeros(len(squares))
    scores[order] = squares / left.clamp_min(1e-300)
    return scores


def _indices(kept: list[int]) -> Any:
    import torch

    return torch.tensor(kept, dtype=torch.int64)


def _check_share(what: str, share: float) -> None:
    if not 0 <= share < 1:
        raise ConfigError(f"--{what} must be a share from 0 to below 1, got {share}")
