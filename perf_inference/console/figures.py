"""The statistics of the nodes as tables: all that was heard, and the last thirty."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from perf_inference.console.node import LAST, NodeSeen
from perf_inference.console.screen import number
from perf_inference.printable import folded, printable

_COLUMNS = ("mean", "p50", "p90", "p99", "min", "max", "deviation", "n")
_SCREEN = 80  # columns
_TITLES = ("mean", "median", "p90", "p99", "min", "max", "dev", "n")


def statistics_of(node: NodeSeen) -> dict[str, Any]:
    """Return what the timings of a node came to, for programs; null where there are too few samples."""
    others = node.said.others
    return {
        "node": node.name,
        "count": node.counted,
        "throughput_hz": node.throughput_hz,
        "memory_mb": others.get("process_memory_mb"),
        "gpu_memory_mb": others.get("gpu_memory_mb"),
        "latency_ms": node.latency.as_dict(),
        "last_latency_ms": node.latency.last_as_dict(),
        "total_ms": node.total.as_dict(),
        "last_total_ms": node.total.last_as_dict(),
    }


def statistics_lines(nodes: Iterable[NodeSeen]) -> list[str]:
    """Return the same for a screen of 80 columns."""
    lines = [
        "[ms] latency: from the source's stamp to the result; work: from the reader",
        f"last: {LAST}; '-': too few samples (median needs 11, p90 64, p99 662)",
        "",
        f"{'':<19}" + "".join(f"{title:>7}" for title in _TITLES[:-1]) + f"{_TITLES[-1]:>6}",
    ]
    count = 0
    for node in nodes:
        if not node.counted:
            continue
        count += 1
        said = statistics_of(node)
        lines += folded(
            f"{printable(node.name, 40)}: {node.counted} inferences, {number(said['throughput_hz'], 2)} a second, "
            f"CPU {_mb(said['memory_mb'])} MB, GPU {_mb(said['gpu_memory_mb'])} MB",
            _SCREEN,
        )
        lines += [
            _row(title, said[key])
            for title, key in (
                ("  latency, all", "latency_ms"),
                ("  latency, last", "last_latency_ms"),
                ("  work, all", "total_ms"),
                ("  work, last", "last_total_ms"),
            )
        ]
    return lines if count else [*lines, "no inference was heard yet"]


def nodes_lines(rows: Sequence[Any]) -> list[str]:
    """Return a table of the nodes, as `perf-inference nodes` prints it."""
    title = f"{'node':<26}{'model':<18}{'Hz':>10}{'p50 ms':>9}{'n':>7}  state"
    lines = [title]
    for row in rows:
        model = f"{row.engine} {row.precision or '-'}" if row.engine else "-"
        rate = f"{number(row.rate_hz)}{f'/{row.expected_hz:g}' if row.expected_hz else ''}"
        name, model = printable(row.name, 60), printable(model, 60)
        if len(name) > 25 or len(model) > 17:  # its figures stand below their names all the same
            lines += folded(f"{name} {model}", _SCREEN)
            name = model = ""
        figures = f"{name:<25} {model:<17}{rate:>11}{number(row.p50_ms):>9}{row.n:>7}"
        state = row.cause.text if row.level != "ok" else row.state
        beside = len(figures) + 2 + len(state) <= _SCREEN
        lines += [f"{figures}  {state}"] if beside else [figures, *folded(f"  {state}", _SCREEN)]
    return lines


def _row(title: str, figures: Mapping[str, Any]) -> str:
    values = "".join(f"{_figure(figures[name]):>7}" for name in _COLUMNS[:-1])
    return f"{title:<19}{values}{figures['n']:>6}"


def _figure(value: float | None) -> str:
    return number(value, 2 if value is not None and value < 100 else 1)


def _mb(value: object) -> str:
    return number(value, 0) if isinstance(value, int | float) else "-"
