"""What a policy saw and said at the ticks of a recorded run, or would have."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from perf_inference import model_build
from perf_inference.commands.predict.output import STANDARD_OUTPUT, json_list
from perf_inference.commands.predict.recorded import Recorded
from perf_inference.engines import Engine, Options
from perf_inference.errors import ConfigError, InputError, PerfInferenceError
from perf_inference.printable import printable
from perf_inference.recording.run_directory import TIMINGS
from perf_inference.tasks.policy.chunks.commands import Base
from perf_inference.tasks.policy.contract.contract import Contract
from perf_inference.tasks.policy.contract.parse import contract_of_metadata, read_contract
from perf_inference.tasks.policy.contract_task import ContractTask, crc_of, numbers_of
from perf_inference.tasks.policy.observing.observer import Context, Observer, Seen
from perf_inference.tasks.policy.observing.used import of_text

DONE, NOTHING, PARTLY = 0, 1, 3
_EVER_NS = 1 << 62
Row = Mapping[str, Any]


def contract_for(options: argparse.Namespace) -> Contract | None:
    """Return the contract that is named, or that the model's file carries; None: it is no policy with one."""
    if options.contract is not None:
        return read_contract(options.contract)
    said = model_build.metadata_of(options.model, options.runtime, Options(allow_pickle=options.allow_pickle))
    return contract_of_metadata(said, options.model)


def run(options: argparse.Namespace, contract: Contract) -> int:
    """Predict tick by tick; return the status."""
    if len(options.inputs) != 1:
        raise ConfigError(f"a policy is predicted for one recording at a time, got {len(options.inputs)}")
    source = Path(options.inputs[0]).expanduser()
    people = sys.stderr if options.json == STANDARD_OUTPUT else sys.stdout
    opened = Options(precision=options.precision, device=options.device, threads=options.threads,
                     architecture=options.architecture, allow_pickle=options.allow_pickle)  # fmt: skip
    engine = model_build.load(options.model, options.runtime, opened)
    counts = {"done": 0, "missing": 0, "equal": 0, "different": 0}
    try:
        retracing = Retracing(engine, contract, source)
        with json_list(options.json) as entries:
            for entry in retracing.entries():
                entries.add(entry)
                counts["missing" if "missing" in entry else "done"] += 1
                if (equal := entry.get("equal")) is not None:
                    counts["equal" if equal else "different"] += 1
                if "missing" in entry:
                    print(f"perf-inference predict: tick {entry['stamp_ns']}: {printable(entry['missing'])}",
                          file=sys.stderr)  # fmt: skip
    finally:
        engine.close()
    told = counts["equal"] + counts["different"]
    print(
        f"{counts['done']} ticks predicted, {counts['missing']} named as missing; of {told} that the run tells of "
        f"{counts['equal']} are equal bit for bit",
        file=people,
    )
    if counts["missing"] or counts["different"]:
        return PARTLY if counts["done"] else NOTHING
    return DONE if counts["done"] else NOTHING


class Retracing:
    """Goes through the ticks of a recording."""

    def __init__(self, engine: Engine, contract: Contract, source: Path) -> None:
        self._engine, self._contract = engine, contract
        self._task = ContractTask(contract, engine)
        self._rows = _timings(source, engine.info.name)
        topics: dict[str, str] = {}
        if self._rows:
            first = self._rows[0]
            topics = {
                contract.observations[place].topic: str(first[f"topic.{label}"])
                for place, label in self._task.labels.items()
                if f"topic.{label}" in first
            }
        self._recorded = Recorded(source, contract, topics)
        self._epoch: Any = None

    def entries(self) -> Iterator[dict[str, Any]]:
        """Yield what a JSON list has of each tick."""
        if self._rows:
            for row in self._rows:
                yield self._retraced(row)
            return
        yield from self._on_a_grid()

    def _retraced(self, row: Row) -> dict[str, Any]:
        end_ns = int(row["tick_ns"])
        try:
            if row.get("epoch") != self._epoch:
                self._epoch = row.get("epoch")
                self._task.binding.reset()
            observer = self._observer()
            for place, label in self._task.labels.items():
                term = self._contract.observations[place]
                if row.get(f"used.{label}") is None:
                    if term.stand_in is None:
                        raise InputError(f"the timing does not say which messages of {label} were used")
                    continue
                for sample in self._recorded.used(term, of_text(str(row[f"used.{label}"]))):
                    observer.add(place, sample.stamp_ns, sample.content)
            raw, sent = (numbers_of(row.get(key), key) for key in ("previous_raw", "previous_sent"))
            context = Context(raw, sent, str(row.get("task") or ""), float(row.get("phase_s") or 0.0))
            prefix = numbers_of(row.get("prefix"), "prefix")
            seen = observer.look(end_ns, context)
            entry, crcs = self._entry(end_ns, seen, prefix, int(row.get("delay_estimate") or 0), sent)
        except PerfInferenceError as error:
            return {"stamp_ns": end_ns, "kind": "policy", "missing": str(error)}
        said = row.get("observation_crc32"), row.get("action_crc32")
        if None not in said:
            entry["equal"] = tuple(map(int, said)) == crcs  # type: ignore[arg-type]
        return entry

    def _on_a_grid(self) -> Iterator[dict[str, Any]]:
        """Yield ticks at the contract's rate, of what was recorded by then: a recording without our timings."""
        first_ns, last_ns = self._recorded.span_ns
        period_ns = round(1e9 / (self._contract.rate_hz or 10))
        windows = [t.window.length / t.window.rate_hz for t in self._contract.topics if t.window]
        back_ns = round((max(windows, default=0.0) + 2) * 1e9)
        raw: NDArray[np.float64] | None = None
        for end_ns in range(first_ns, last_ns + 1, period_ns):
            observer = self._observer()
            try:
                for place in self._task.labels:
                    term = self._contract.observations[place]
                    for sample in self._recorded.until(term, end_ns, end_ns - back_ns):
                        observer.add(place, sample.stamp_ns, sample.content)
                context = Context(raw, None, self._contract.task, (end_ns - first_ns) / 1e9)
                entry, _ = self._entry(end_ns, observer.look(end_ns, context), None, 0, None)
            except PerfInferenceError as error:
                yield {"stamp_ns": end_ns, "kind": "policy", "missing": str(error)}
                continue
            raw = self._raw
            yield entry

    def _observer(self) -> Observer:
        binding = self._task.binding
        return Observer(self._contract, binding.prepare, _EVER_NS, _EVER_NS, binding.commands.width, binding.widths,
                        ever=True)  # fmt: skip

    def _entry(
        self, end_ns: int, seen: Seen, prefix: NDArray[np.float64] | None, delay: int, sent: NDArray[np.float64] | None
    ) -> tuple[dict[str, Any], tuple[int, int]]:
        binding = self._task.binding
        rows = None if prefix is None else prefix.reshape(-1, binding.commands.width)
        inputs = binding.inputs(seen, rows, delay)
        crc = crc_of(inputs)
        outputs = self._engine.infer(inputs)
        raw = binding.commands.raw(outputs)
        chunk = binding.commands.published(raw, Base(seen.measured, sent))
        binding.keep(outputs)
        self._raw = raw[0]
        observations = {name: array.tolist() for name, array in inputs.items()}
        return (
            {"stamp_ns": end_ns, "kind": "policy", "observations": observations, "actions": chunk.tolist()},
            (crc, crc_of({"actions": chunk})),
        )


def _timings(source: Path, model: str) -> list[Row]:
    """Return the timings of a run's policy, in the order of its ticks; none beside other recordings."""
    folder = source if source.is_dir() else source.parent
    rows = []
    for path in sorted(folder.glob(TIMINGS)):
        for line in path.read_bytes().splitlines():
            try:
                row = orjson.loads(line)
            except orjson.JSONDecodeError:
                continue  # the last line of a run that was cut
            if isinstance(row, dict) and row.get("engine") == model and row.get("tick_ns") is not None:
                rows.append(row)
    return sorted(rows, key=lambda row: int(row["tick_ns"]))
