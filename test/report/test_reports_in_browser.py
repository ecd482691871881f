"""Reports in a real browser: every plot is drawn, in the light, in the dark and on a phone."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from support.browser import Browser, needs_browser
from support.processes import Process
from support.runs import NAME, timing, write, write_diagnostics

from perf_inference import cli
from perf_inference.report.document import Document, Histograms, Printed, Table, TimeLines, Words
from perf_inference.report.document_page import page

PLOTS = """[...document.querySelectorAll('svg')].map(svg => {
const box = svg.getBoundingClientRect(), paths = [...svg.querySelectorAll('path:not(.grid)')];
const seen = path => { const drawn = path.getBoundingClientRect();
  return drawn.width + drawn.height > 0 && drawn.left < box.right + 2 && drawn.right > box.left - 2
  && drawn.top < box.bottom + 2 && drawn.bottom > box.top - 2 && getComputedStyle(path).visibility === 'visible'; };
return {name: svg.getAttribute('aria-label'), width: box.width, height: box.height, all: paths.length,
  lost: paths.filter(path => !seen(path)).map(path => path.outerHTML.slice(0, 200))}; })"""
"""What there is of each drawing of a page, as it is laid out: its size, its marks, and those that cannot be seen."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    needs_browser()
    with Browser() as opened:
        yield opened


def check_plots(browser: Browser, path: Path, expected: int) -> None:
    """Open a report, and look at each of its drawings as it is laid out."""
    assert path.stat().st_size < 2_000_000
    browser.open(path.as_uri())
    for width_px, dark in ((1100, False), (1100, True), (390, False)):
        browser.call(
            "Emulation.setDeviceMetricsOverride", width=width_px, height=900, deviceScaleFactor=1, mobile=False
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        browser.call("Emulation.setEmulatedMedia", features=[scheme])
        plots = browser.evaluate(PLOTS)
        assert len(plots) == expected, [plot["name"] for plot in plots]
        for plot in plots:
            assert plot["width"] > 150, (width_px, plot)
            assert plot["height"] > 20, (width_px, plot)
            assert plot["all"] > 0, (width_px, plot)
            assert plot["lost"] == [], (width_px, plot)
        assert browser.evaluate("document.documentElement.scrollWidth") <= width_px, "it has to be moved sideways"
    assert browser.problems == []


@pytest.mark.slow
def test_a_run_s_report_shows_every_plot(tmp_path: Path, browser: Browser) -> None:
    stages = {"decode_ms": 0.5, "infer_ms": 6.0, "publish_ms": 0.25}
    records = [
        timing(number, 33 * number, node, latency_ms=5.0 + number % 7, dropped_before=int(number % 5 == 4), **stages)
        for node in ("policy_node", "yolo_node") for number in range(1, 60)
    ]  # fmt: skip
    write(tmp_path / NAME, records)
    write_diagnostics(tmp_path / "topics_1.jsonl", "nested")
    cv2.imwrite(str(tmp_path / "annotated.jpg"), np.full((48, 64, 3), 90, np.uint8))
    assert cli.main(["analyze", str(tmp_path), "--html", str(tmp_path / "report.html")]) == 0
    check_plots(browser, tmp_path / "report.html", expected=2 + 2 + 2 * 4)  # latency, machine, stages and latency
    assert browser.evaluate("document.querySelector('img.kept').naturalWidth") == 64


@pytest.mark.slow
def test_a_benchmark_s_report_shows_every_plot(tmp_path: Path, browser: Browser) -> None:
    values = [1.0 + number % 13 / 10 for number in range(400)]
    times = [number / 100 for number in range(400)]
    parts = (
        Words("Words", ["Two sentences."]),
        Printed("Printed", ["a  b", "1  2"]),
        Table("Table", ("name", "value"), [("<b>", "1")]),
        Histograms("Histograms", {"base": values, "head": [2 * value for value in values], "few": [1.0]}),
        TimeLines("Time lines", {"base": (times, values), "head": (times[:50], values[:50])}),
    )
    path = tmp_path / "bench.html"
    path.write_text(page(Document("A benchmark", "not slower", parts), "perf-inference bench"))
    check_plots(browser, path, expected=3 + 1)


@pytest.mark.long
def test_screenshots_of_the_docs(
    start_command: Callable[..., Process], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, domain: int
) -> None:
    """The demo in a browser, then its report; PERF_INFERENCE_SCREENSHOTS=docs/images keeps what is seen."""
    pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")
    needs_browser()
    kept = Path(os.environ.get("PERF_INFERENCE_SCREENSHOTS", tmp_path)).absolute()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(cli.__file__).parents[1]), os.environ["PYTHONPATH"]])
                       if "PYTHONPATH" in os.environ else str(Path(cli.__file__).parents[1]))  # fmt: skip
    demo = start_command("demo", "--duration", "60")
    demo.wait_for("[ACTION #1]", 90)
    view = start_command("view")
    view.wait_for("/?token=")
    address = view.output().partition("open ")[2].split()[0]
    with Browser(1100, 1300) as browser:
        browser.open(address)
        moved = "document.querySelector('#images img')?.dataset.number"
        assert browser.wait_for(moved, lambda number: int(number or 0) > 30), browser.evaluate(
            "document.body.innerText"
        )
        assert browser.wait_for("document.querySelectorAll('#diagnostics tr').length > 5")
        assert browser.wait_for("!!document.querySelector('blockquote')")
        browser.screenshot(kept / "view.png")
        assert browser.problems == []
    assert view.stop() == 0
    demo.wait_for("[ACTION #3", 60)
    assert demo.stop(signal.SIGINT) == 0, demo.output()
    (run,) = (tmp_path / "runs").iterdir()
    assert (run / "annotated.jpg").is_file()
    path = tmp_path / "report.html"
    assert cli.main(["analyze", str(run), "--html", str(path)]) == 0
    with Browser() as browser:
        check_plots(browser, path, path.read_text().count("<svg"))
        browser.call("Emulation.setDeviceMetricsOverride", width=1100, height=2200, deviceScaleFactor=1, mobile=False)
        browser.screenshot(kept / "report.png")
