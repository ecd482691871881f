"""The page of public names is true: each can be imported, and says what it is."""

from __future__ import annotations

import importlib
import inspect
import re

import pytest
from support.paths import ROOT

PAGE = (ROOT / "docs" / "development" / "api.md").read_text()
OF_GROUPS = set(re.findall(r"^\| `(perf_inference\.\w+)` \|", PAGE.split("## Entry points")[1], re.MULTILINE))
NAMES = sorted(set(re.findall(r"`(perf_inference[\w.]*\.[A-Za-z]\w*)`", PAGE)) - OF_GROUPS)


def test_the_page_has_names() -> None:
    assert len(NAMES) > 25


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_is_there_and_says_what_it_is(name: str) -> None:
    module, _, attribute = name.rpartition(".")
    if ".nodes." in name:
        pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")
    found = getattr(importlib.import_module(module), attribute)
    assert inspect.getdoc(found) if callable(found) else found, f"{name} has no docstring"
