"""`perf-inference view` in a real browser: the image moves, the figures are the heartbeat's, and others see nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")
pytest.importorskip("aiohttp", reason="needs aiohttp: pip install 'perf_inference[view]'")

from diagnostic_msgs.msg import DiagnosticStatus
from sensor_msgs.msg import Image
from std_msgs.msg import Header, String
from support.browser import Browser, needs_browser
from support.processes import Ros
from support.view_rig import LiveView

from perf_inference.nodes.images.converter import from_bgr
from perf_inference.nodes.reports.messages import OK, key_values
from perf_inference.nodes.reports.reporter import STATUS_QOS

EVIL = "<script>window.evil = 1</script><img src=x onerror='window.evil = 2'>a red circle"
CELL = "[...document.querySelectorAll('#nodes tr')].find(row => row.cells[0].textContent === 'yolo_node')?.cells"
PIXEL = """(() => { const from = document.querySelector('#images img'), to = document.createElement('canvas');
if (!from?.naturalWidth) return -1;
to.width = to.height = 8; const drawn = to.getContext('2d'); drawn.drawImage(from, 0, 0, 8, 8);
return drawn.getImageData(4, 4, 1, 1).data[0]; })()"""


@contextmanager
def repeated(publish: Callable[[int], None]) -> Iterator[None]:
    """Call it with 0, 1, 2 ... 20 times a second, on a thread."""
    over = threading.Event()

    def run() -> None:
        number = 0
        while not over.wait(0.05):
            publish(number)
            number += 1

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.mark.slow
def test_the_page_in_a_browser(ros: Ros) -> None:
    needs_browser()
    images = ros.node.create_publisher(Image, "annotated", 1)
    captions = ros.node.create_publisher(String, "caption", 1)
    beats = ros.node.create_publisher(DiagnosticStatus, "inference/status", STATUS_QOS)
    said = {"engine": "detector", "driven_by": "image", "inferences": 1234, "rate_hz": 29.96, "latency_p50_ms": 8.04}

    def publish(number: int) -> None:
        images.publish(from_bgr(np.full((48, 64, 3), 10 + number % 8 * 30, np.uint8), Header()))
        captions.publish(String(data=EVIL))
        status = DiagnosticStatus(level=OK, name="yolo_node", message="running", hardware_id="h/1")
        status.values = key_values(said)
        beats.publish(status)

    with LiveView() as view, repeated(publish), Browser() as browser:
        browser.open(view.server.address)
        assert browser.wait_for(PIXEL, lambda value: value > 0), browser.evaluate("document.body.innerText")
        first = browser.evaluate(PIXEL)
        assert browser.wait_for(PIXEL, lambda value: abs(value - first) > 10), "the image does not move"
        assert browser.wait_for(f"{CELL}?.length", lambda length: length == 9)
        assert browser.evaluate(f"{CELL}[1].textContent") == f"{said['rate_hz']:.1f}"
        assert browser.evaluate(f"{CELL}[2].textContent") == f"{said['latency_p50_ms']:.1f}"
        assert browser.evaluate(f"{CELL}[5].textContent") == str(said["inferences"])
        said["inferences"] = 4321
        assert browser.wait_for(f"{CELL}[5].textContent", lambda text: text == "4321"), "the figures do not move"
        assert browser.wait_for("document.querySelector('blockquote')?.textContent", lambda text: text == EVIL)
        assert browser.evaluate("window.evil === undefined")
        assert browser.evaluate("document.getElementById('state').textContent") == "live"
        assert browser.problems == []  # neither an error of its script nor anything that its policy refused
        browser.open("data:text/html,another page")
        for path in ("", "panel", "image"):
            address = view.server.address.replace("/?", f"/{path}?")
            assert browser.evaluate(f"fetch('{address}').then(answer => answer.status, () => 'refused')") == "refused"
