"""The names of a model's classes, as exporters leave them."""

from __future__ import annotations

import pytest

from perf_inference.errors import ConfigError
from perf_inference.tasks.class_names import names_of

BOTH = ("bolt", "hex nut")


@pytest.mark.parametrize(
    "text",
    [
        "{0: 'bolt', 1: 'hex nut'}",
        "{1: 'hex nut', 0: 'bolt'}",
        '{"0": "bolt", "1": "hex nut"}',
        "{'0': 'bolt', '1': 'hex nut'}",
        "{1: 'bolt', 2: 'hex nut'}",
        '{"1": "bolt", "2": "hex nut"}',
        '["bolt", "hex nut"]',
        "['bolt', 'hex nut']",
        "('bolt', 'hex nut')",
        '{"bolt": 0, "hex nut": 1}',
        '{"bolt": 1, "hex nut": 2}',
        '[{"id": 2, "name": "hex nut"}, {"id": 1, "name": "bolt", "supercategory": "part"}]',
        "bolt, hex nut",
        "bolt\nhex nut\n",
    ],
)
def test_every_form_of_two_names(text: str) -> None:
    assert names_of({"names": text}) == BOTH


@pytest.mark.parametrize("key", ["class_names", "classes", "id2label", "labels"])
def test_other_entries_hold_them_too(key: str) -> None:
    assert names_of({key: '{"0": "bolt", "1": "hex nut"}'}) == BOTH


def test_the_labels_of_openvino_have_underscores_for_blanks() -> None:
    assert names_of({"labels": "bolt hex_nut"}) == BOTH


def test_the_names_come_before_other_entries() -> None:
    assert names_of({"labels": "a b", "names": '["bolt", "hex nut"]'}) == BOTH


@pytest.mark.parametrize("metadata", [{}, {"names": ""}, {"classes": "80"}, {"labels": ""}])
def test_nothing_is_said_of_them(metadata: dict[str, str]) -> None:
    assert names_of(metadata) == ()


@pytest.mark.parametrize(
    "text",
    [
        "{0: 'bolt', 2: 'nut'}", "{2: 'bolt', 3: 'nut'}", "{0: 'bolt', 1: None}", "{0: 'bolt', 1: {'a': 1}}", "[1.5]",
        "{'bolt': 0, 'nut': 0}", '[{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]', "{0: 'bolt'", "[" * 10_000,
        "{0: open('/etc/passwd')}", "7", "bolt,,nut", "{0: ''}",
    ],
)  # fmt: skip
def test_names_that_cannot_be_read_are_said(text: str) -> None:
    with pytest.raises(ConfigError, match="names that cannot be read"):
        names_of({"names": text})
