"""No figure of a table is cut, however narrow the terminal."""

from __future__ import annotations

import io
import re
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table
from rich.text import Text

from perf_inference.commands.analyze.text import live_table
from perf_inference.commands.whole_table import console_of, print_whole, significant

HEADERS = ("node", "inferences", "recorded", "Hz", "mean", "p50", "p90", "p99", "max", "drops", "lost before")
ROWS = [
    ("policy_node", "123456", "123455", "10.00", "3.21", "3.19", "12.3", "123", "1234", "17", "98765"),
    ("left_arm/a_detector_with_a_long_name", "999999", "-", "29.97", "33.3", "31.2", "40.1", "55.5", "9999", "0", "-"),
]


def printed(table: Table, width: int) -> str:
    out = io.StringIO()
    print_whole(Console(file=out, width=width, no_color=True), table)
    return out.getvalue()


def made() -> Table:
    table = Table(title=Text("summary"))
    for header in HEADERS:
        table.add_column(header)
    for row in ROWS:
        table.add_row(Text(row[0]), *row[1:])
    return table


@pytest.mark.parametrize("width", [44, 60, 80, 100, 120, 200])
def test_every_figure_is_there_in_full(width: int) -> None:
    text = printed(made(), width)
    words = re.split(r"[\s,│┃]+", text)
    for row in ROWS:
        for cell in row:
            assert cell in words, (cell, text)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    assert ("┃" in text) == (width >= 150)


def test_a_live_table_gives_way_in_its_names() -> None:
    latency: Any = SimpleNamespace(n=7, percentiles_ms={50.0: 1234.5, 90.0: 2345.6, 99.0: 3456.7}, max_ms=4567.8)
    node = SimpleNamespace(name="a_namespace/of_a_robot/yolo_node", latency=latency, stages={}, hz=1234.567,
                           inferences=1234567, drops=7654321)  # fmt: skip
    out = io.StringIO()
    table = live_table(SimpleNamespace(nodes=[node]))  # type: ignore[arg-type]
    Console(file=out, width=80, no_color=True).print(table)
    for figure in ("1234567", "1234.57", "1234.5", "2345.6", "3456.7", "4567.8", "7654321"):
        assert figure in out.getvalue().split(), out.getvalue()


@pytest.mark.parametrize(
    ("value", "said"),
    [(3.14159, "3.14"), (31.4159, "31.4"), (314.159, "314"), (31415.9, "31416"), (0.0314159, "0.0314"), (0, "0.00"),
     (0.000123456, "0.000123"), (-2.5, "-2.50"), (7, "7.00"), (None, "-"), ("x", "-"), (True, "-")],
)  # fmt: skip
def test_three_digits_that_count(value: object, said: str) -> None:
    assert significant(value) == said


def test_a_pipe_is_as_wide_as_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert console_of(120).width == 120
    monkeypatch.setenv("COLUMNS", "80")
    assert console_of(120).width == 80
