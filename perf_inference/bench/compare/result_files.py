"""Result files as arms of a comparison: this package's, and those of other tools that keep raw values."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from perf_inference.bench.results.outputs import FORMAT
from perf_inference.errors import RecordingError
from perf_inference.printable import shown

_MS = {"ms": 1.0, "s": 1e3, "us": 1e-3, "ns": 1e-6, "second": 1e3}
_LARGEST = 1 << 28
_BLOCKS = 20
_ENOUGH = 10  # processes


@dataclass
class Results:
    """The samples of a file [ms]: by series, then by process in the order of time."""

    path: Path
    kind: str
    series: dict[str, list[list[float]]] = field(default_factory=dict)
    machine: Mapping[str, Any] | None = None
    left_out: list[str] = field(default_factory=list)

    def figures(self, name: str) -> tuple[list[float], str]:
        """Return a figure per process, or where those are too few per stretch within them, and which it is."""
        processes = [values for values in self.series[name] if values]
        if len(processes) >= _ENOUGH:
            return [statistics.median(values) for values in processes], f"{len(processes)} processes"
        values = [value for process in processes for value in process]
        size = max(1, len(values) // _BLOCKS)
        blocks = [values[at : at + size] for at in range(0, size * (len(values) // size), size)]
        return [statistics.median(block) for block in blocks], (
            f"{len(blocks)} stretches of {size} samples of {len(processes)} process{'es' * (len(processes) > 1)}"
        )


def read_results(path: Path) -> Results:
    """Return the samples of a result file or of a run's directory.

    Raises:
        RecordingError: it cannot be read, is of no known kind, or holds no raw samples.
    """
    if path.is_dir():
        files = sorted(path.glob("performance_timings_*.jsonl"))
        if not files:
            raise RecordingError(f"{path} must have a performance_timings_*.jsonl, and has none")
        found = Results(path, "recorded run")
        for file in files:
            _timings(found, _lines(_read(file)))
        found.machine = _session(path)
    else:
        found = _parse(path, _read(path))
    if not any(values for processes in found.series.values() for values in processes):
        why = f": {'; '.join(found.left_out)}" if found.left_out else ""
        raise RecordingError(f"{path} ({found.kind}) holds no raw samples{why}")
    return found


def _parse(path: Path, data: bytes) -> Results:
    found = Results(path, "result file")
    try:
        whole = orjson.loads(data)
    except orjson.JSONDecodeError:
        whole = None
    if isinstance(whole, dict) and "record" not in whole and "node" not in whole:
        for kind, belongs, take in _KINDS:
            if belongs(whole):
                found.kind = kind
                try:
                    take(found, whole)
                except (KeyError, TypeError, ValueError, AttributeError) as error:
                    raise RecordingError(f"{path} looks like a file of {kind}, but is damaged: {error!r}") from error
                return found
    elif isinstance(whole, list) and whole and all(isinstance(value, int | float) for value in whole):
        found.kind, found.series = "list of numbers", {"values": [[float(v)] for v in whole]}
        return found
    lines = list(_lines(data))
    if lines and lines[0].get("record") == "benchmark":
        _own(found, lines)
    elif lines and "node" in lines[0]:
        found.kind = "timings file"
        _timings(found, lines)
        found.machine = _session(path.parent)
    elif (numbers := _numbers(data)) is not None:
        found.kind, found.series = "column of numbers", {"values": [[value] for value in numbers]}
    else:
        raise RecordingError(
            f"{path} must be a result of this package's benchmarks, a timings file, JSON of pyperf, pytest-benchmark, "
            "hyperfine or Google Benchmark, or a number per line"
        )
    return found


def _own(found: Results, lines: Iterable[Mapping[str, Any]]) -> None:
    blocks: dict[str, dict[int, list[float]]] = {}
    for line in lines:
        if line.get("record") == "benchmark":
            found.kind, found.machine = f"bench {line.get('bench')}", line.get("machine")
            if line.get("format") != FORMAT:
                raise RecordingError(f"{found.path} has the format {shown(line.get('format'))}, expected {FORMAT}")
        elif line.get("record") == "samples":
            if line.get("unit") not in _MS:
                found.left_out.append(f"{line.get('series')} is in {line.get('unit')}, no time")
                continue
            values = [_MS[line["unit"]] * float(value) for value in line["values"]]
            blocks.setdefault(str(line["series"]), {}).setdefault(int(line.get("block", 0)), []).extend(values)
    found.series = {name: [by_block[key] for key in sorted(by_block)] for name, by_block in blocks.items()}


def _timings(found: Results, lines: Iterable[Mapping[str, Any]]) -> None:
    processes: dict[str, list[float]] = {}
    for line in lines:
        value = line.get("total_ms")
        if isinstance(value, int | float) and value > 0 and not line.get("warmup") and isinstance(line["node"], str):
            processes.setdefault(f"{line['node']} total", []).append(float(value))
    for name, values in processes.items():
        found.series.setdefault(name, []).append(values)


def _pyperf(found: Results, whole: Mapping[str, Any]) -> None:
    common = whole.get("metadata", {})
    for benchmark in whole["benchmarks"]:
        about = {**common, **benchmark.get("metadata", {})}
        unit = about.get("unit", "second")
        if unit not in _MS:
            found.left_out.append(f"{about.get('name')} is in {unit}, no time")
            continue
        runs = [[_MS[unit] * float(v) for v in run["values"]] for run in benchmark["runs"] if run.get("values")]
        found.series[str(about.get("name", "values"))] = runs
        found.machine = {"processor": about.get("cpu_model_name"), "cores": about.get("cpu_count"),
                         "governor": about.get("cpu_scaling_governor")}  # fmt: skip


def _pytest_benchmark(found: Results, whole: Mapping[str, Any]) -> None:
    cpu = whole["machine_info"].get("cpu", {})
    found.machine = {"processor": cpu.get("brand_raw"), "machine": whole["machine_info"].get("machine"),
                     "cores": cpu.get("count")}  # fmt: skip
    for benchmark in whole["benchmarks"]:
        data = benchmark["stats"].get("data")
        if data:
            found.series[str(benchmark.get("fullname", benchmark["name"]))] = [[1e3 * float(value) for value in data]]
        else:
            found.left_out.append(f"{benchmark['name']} has no raw values (--benchmark-save-data keeps them)")


def _hyperfine(found: Results, whole: Mapping[str, Any]) -> None:
    results = whole["results"]
    for result in results:
        name = "times" if len(results) == 1 else str(result["command"])
        if result.get("times"):
            found.series[name] = [[1e3 * float(value)] for value in result["times"]]
        else:
            found.left_out.append(f"{result.get('command')} has no raw values")


def _google(found: Results, whole: Mapping[str, Any]) -> None:
    context = whole["context"]
    found.machine = {"cores": context.get("num_cpus"), "host": context.get("host_name")}
    for benchmark in whole["benchmarks"]:
        if benchmark.get("run_type", "iteration") == "iteration":
            value = _MS[benchmark["time_unit"]] * float(benchmark["real_time"])
            found.series.setdefault(str(benchmark.get("run_name", benchmark["name"])), [[]])[0].append(value)


_KINDS: tuple[
    tuple[str, Callable[[Mapping[str, Any]], bool], Callable[[Results, Mapping[str, Any]], None]], ...
] = (
    ("hyperfine", lambda whole: isinstance(whole.get("results"), list), _hyperfine),
    ("pytest-benchmark", lambda whole: "machine_info" in whole and "benchmarks" in whole, _pytest_benchmark),
    ("Google Benchmark", lambda whole: "context" in whole and "benchmarks" in whole, _google),
    ("pyperf", lambda whole: isinstance(whole.get("benchmarks"), list), _pyperf),
)  # fmt: skip


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
    except OSError as error:
        raise RecordingError(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > _LARGEST:
        raise RecordingError(f"{path} must have at most {_LARGEST >> 20} MiB")
    return data


def _lines(data: bytes) -> Iterable[dict[str, Any]]:
    for line in data.splitlines():
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue
        if isinstance(record, dict):
            yield record


def _numbers(data: bytes) -> list[float] | None:
    try:
        return [float(word) for word in data.decode().split()] or None
    except ValueError:
        return None


def _session(directory: Path) -> Mapping[str, Any] | None:
    try:
        host = orjson.loads((directory / "session.json").read_bytes()).get("host")
    except (OSError, orjson.JSONDecodeError, AttributeError):
        return None
    return host if isinstance(host, dict) else None
