"""The annotated image within a run's report: it is there, and nothing else can be in its place."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from support.runs import NAME, timing, write

from perf_inference import cli
from perf_inference.report.image import kept_image


def jpeg(directory: Path) -> bytes:
    data = bytes(cv2.imencode(".jpg", np.full((48, 64, 3), 90, np.uint8))[1])
    (directory / "annotated.jpg").write_bytes(data)
    return data


def test_the_report_shows_it_and_needs_no_network(tmp_path: Path) -> None:
    write(tmp_path / NAME, [timing(number, 100 * number, latency_ms=5.0) for number in range(1, 20)])
    data, path = jpeg(tmp_path), tmp_path / "report.html"
    assert cli.main(["analyze", str(tmp_path), "--html", str(path)]) == 0
    page = path.read_text()
    assert f'src="data:image/jpeg;base64,{base64.b64encode(data).decode()}"' in page
    assert "img-src data:" in page
    assert page.count("<img") == 1


def test_a_report_of_a_run_without_one_has_none(tmp_path: Path) -> None:
    assert kept_image(tmp_path) == ""


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b'<svg onload="alert(1)">', "is no JPEG"),
        (b"", "is no JPEG"),
        (b"\xff\xd8\xff" + bytes(1_000_000), "is over 1 MB"),
    ],
)
def test_what_is_no_image_is_said_and_not_shown(tmp_path: Path, data: bytes, why: str) -> None:
    (tmp_path / "annotated.jpg").write_bytes(data)
    assert kept_image(tmp_path) == f'<p class="dim">annotated.jpg is not shown: it {why}.</p>'


def test_a_pipe_in_its_place_holds_nothing_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "annotated.jpg")
    assert "is not shown: it cannot be read: it is no regular file" in kept_image(tmp_path)
