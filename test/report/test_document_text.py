"""A benchmark's report on a terminal: a table that is too wide goes on below, and no figure is cut."""

from __future__ import annotations

import re

import pytest

from perf_inference.report.document import Document, Printed, Table, Words
from perf_inference.report.document_text import terminal

HEADER = ("scenario", "variant", "n", "mean ms", "sd", "min", "p50", "p90", "p99", "max", "speed-up", "ranked")
ROWS = [
    ("batch 1", name, "690", "12.878", "1.732", "1.612", "2.814", "3.179", "13.36", "121.98", "1.85 (1.16 to 3.43)",
     "yes")
    for name in ("baseline", "onnx fp16", "openvino fp32, 1 thread")
]  # fmt: skip
NOTE = "speed-up: median of the baseline over this one's, and its range over the rounds; CPU at 2596 MHz, steady"
DOCUMENT = Document(
    "ladder of detector",
    "fastest: openvino bf16, which is 1.85 times as fast as the file as it is, with outputs within the tolerance",
    [
        Table("Cells", HEADER, ROWS, NOTE),
        Words("Machine", ["AMD EPYC, 2 cores, " + "governor performance, " * 5]),
        Printed("Use it", ["$ perf-inference run --set yolo_node.runtime:=openvino --set yolo_node.precision:=bf16"]),
    ],
)


@pytest.mark.parametrize("width", [60, 80, 100, 132])
def test_no_line_is_wider_and_no_figure_is_cut(width: int) -> None:
    lines = terminal(DOCUMENT, width).splitlines()
    assert [line for line in lines if len(line) > width and "$ " not in line] == []
    text = "\n".join(lines)
    for row in ROWS:
        for cell in row:
            assert cell in text
    for line in lines:  # each further block names its rows again
        assert not re.match(r" +[0-9]", line), line
    assert "$ perf-inference run --set yolo_node.runtime:=openvino --set yolo_node.precision:=bf16" in text
    assert " ".join(text.split()).count(NOTE) == 1


def test_every_figure_stands_below_its_name() -> None:
    lines = terminal(DOCUMENT, 80).splitlines()
    heads = [i for i, line in enumerate(lines) if line.startswith("  scenario")]
    assert len(heads) > 1
    found: dict[tuple[str, str], list[str]] = {}
    for i in heads:
        names = re.split(r" {2,}", lines[i].strip())
        for line in lines[i + 1 : i + 1 + len(ROWS)]:
            cells = re.split(r" {2,}", line.strip())
            assert len(cells) == len(names)
            for name, cell in zip(names, cells, strict=True):
                found.setdefault((cells[1], name), []).append(cell)
    for row in ROWS:
        for name, cell in zip(HEADER, row, strict=True):
            assert set(found[row[1], name]) == {cell}


def test_without_a_width_each_row_is_a_line() -> None:
    lines = terminal(DOCUMENT).splitlines()
    assert sum(line.startswith("  batch 1") for line in lines) == len(ROWS)
