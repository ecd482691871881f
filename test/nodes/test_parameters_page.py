"""The page of parameters is that of the dataclasses."""

from __future__ import annotations

from runpy import run_path

import pytest
from support.paths import ROOT


def test_the_page_equals_the_dataclasses() -> None:
    pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")
    written = run_path(str(ROOT / "tools" / "write_parameters.py"))
    assert (ROOT / "docs" / "parameters.md").read_text() == written["page"](), "run make parameters"
