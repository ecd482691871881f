"""The card that exported models carry: what is written is read, and what is no card is refused in one sentence."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from perf_inference.engines.engine import ArraySpec
from perf_inference.engines.model_card import ModelCard
from perf_inference.errors import ConfigError

CARD = ModelCard(
    name="policy",
    precision="fp16",
    inputs=(
        ArraySpec("image", (None, 48, 64, 3), np.dtype("uint8")),
        ArraySpec("joints", (None, 4), np.dtype("float32")),
    ),
    outputs=(ArraySpec("action", (None, 2), np.dtype("float32")),),
    metadata={"task": "policy", "limits": "-1,1"},
)


def test_a_card_is_read_as_it_was_written() -> None:
    assert ModelCard.from_json(CARD.to_json(), "x.pt2") == CARD
    assert ModelCard.from_json(CARD.to_json().encode(), "x.pt2") == CARD


def changed(**changes: Any) -> str:
    return json.dumps({**json.loads(CARD.to_json()), **changes})


def spec(**changes: Any) -> list[dict[str, Any]]:
    return [{"name": "x", "shape": [1, 2], "dtype": "float32", **changes}]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no JSON"),
        ("{", "no JSON"),
        (b"\xff\xfe\x00", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("7", "no model card"),
        ("[]", "no model card"),
        ("{}", "has no 'metadata'"),
        (changed(metadata=[]), "no model card"),
        (changed(metadata={"a": 1}), "words to words"),
        (changed(precision="fp8"), "precision must be one of fp32, fp16, bf16, int8, got 'fp8'"),
        (changed(precision=["fp16"]), "precision must be one of"),
        (changed(inputs=[]), "must be there"),
        (changed(inputs=7), "no model card"),
        (changed(outputs=[*spec(), *spec()]), "a name of its own"),
        (changed(inputs=["x"]), "no model card"),
        (changed(inputs=[{"name": "x", "shape": [1]}]), "has no 'dtype'"),
        (changed(inputs=spec(dtype="object")), "dtype must be one of"),
        (changed(inputs=spec(dtype={})), "dtype must be one of"),
        (changed(inputs=spec(shape=[-1])), "null for any"),
        (changed(inputs=spec(shape=[10**30])), "null for any"),
        (changed(inputs=spec(shape=[True])), "null for any"),
        (changed(inputs=spec(shape=[1.5])), "null for any"),
        (changed(inputs=spec(shape="12")), "null for any"),
        (changed(inputs=spec(shape=[1] * 1000)), "null for any"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_no_card_is_refused(text: str | bytes, says: str) -> None:
    with pytest.raises(ConfigError, match=r"metadata\.json of 'x\.pt2' .*export the model again") as caught:
        ModelCard.from_json(text, "x.pt2")
    assert says in str(caught.value)
