"""What `perf-inference check` says of a contract and a model."""

from __future__ import annotations

from pathlib import Path

from perf_inference import model_build
from perf_inference.commands.check.widths import width_at
from perf_inference.engines import Engine, Options
from perf_inference.errors import ConfigError
from perf_inference.tasks.policy.binding import Binding
from perf_inference.tasks.policy.chunks.delays import trouble
from perf_inference.tasks.policy.contract.contract import ActionSpec, Contract, Term
from perf_inference.tasks.policy.contract.parse import contract_of_metadata, read_contract
from perf_inference.tasks.policy.observing.fields import fields_of
from perf_inference.tasks.policy.widths import action_width, width_of


def report(path: Path | None, model: str | None, runtime: str, options: Options) -> list[str]:
    """Return the lines.

    Raises:
        ConfigError: the contract is wrong, or the model does not fit it.
    """
    contract = None if path is None else read_contract(path)
    if model is None:
        if contract is None:
            raise ConfigError("check needs a CONTRACT, or --model with one in its metadata")
        return [*described(contract), f"{contract.where}: a contract; give --model to see whether a model fits it"]
    engine = model_build.load(model, runtime, options)
    try:
        contract = contract or contract_of_metadata(engine.info.metadata, engine.info.name)
        if contract is None:
            raise ConfigError(
                f"'{model}' carries no contract in its metadata; name a file: check CONTRACT --model {model}"
            )
        return [*described(contract), *fits(contract, engine)]
    finally:
        engine.close()


def described(contract: Contract) -> list[str]:
    """Return what the contract subscribes to and publishes, a line each."""
    width = action_width(contract)
    lines = [_observed(term, width_of(term, width, width_at)) for term in contract.observations]
    lines += [f"state {state.input} <- {state.output}" for state in contract.state]
    rate = f"{contract.rate_hz:g} Hz" if contract.rate_hz else "the node's `rate`"
    return [*lines, *map(_acted, contract.actions), f"ticks at {rate}"]


def fits(contract: Contract, engine: Engine) -> list[str]:
    """Return what the model makes of it.

    Raises:
        ConfigError: it does not fit.
    """
    binding = Binding(contract, engine.inputs, engine.outputs, engine.info, width_at)
    steps = binding.horizon
    length = "one action" if steps == 1 else "chunks of any length" if steps is None else f"chunks of {steps} steps"
    rate_hz = contract.actions[0].rate_hz or contract.rate_hz
    lines = []
    if steps and steps > 1 and rate_hz and contract.execution == "async":
        most = (steps - contract.margin) // 2
        lines.append(
            f"chunks of {steps} steps at {rate_hz:g} Hz bridge delays of up to {most / rate_hz * 1e3:.0f} ms"
            if most > 0
            else trouble(1 / rate_hz, 1 / rate_hz, contract.margin, steps)
        )
    return [*lines, f"{contract.where} fits '{engine.info.name}': {length}"]


def _observed(term: Term, width: int | None) -> str:
    if term.source != "topic":
        return f"input {term.input} <- {term.source}" + (f", {width} values" if width else "")
    parts = [] if term.is_image else [", ".join(filter(None, fields_of(term.type, term.fields))) or "all its numbers"]
    if term.names:
        parts.append(f"of {', '.join(term.names)}")
    if term.transform:
        parts.append(f"as {term.transform}")
    parts.append("images" if term.is_image else f"{width} values" if width else "as many values as come")
    if term.window is not None:
        parts.append(f"{term.window.length} of them at {term.window.rate_hz:g} Hz ({term.window.fill})")
    return f"input {term.input} <- subscribes to {term.topic} ({term.type}): {'; '.join(parts)}"


def _acted(action: ActionSpec) -> str:
    return (
        f"output {action.output} -> publishes {action.topic} ({action.message}): {action.kind} of "
        f"{', '.join(action.names)}"
    )
