"""A model of MLServer that does on demand what a server should not; tests of the remote engine serve it."""

from __future__ import annotations

import asyncio
import math
from typing import Any

from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse, MetadataTensor, ResponseOutput


class Odd(MLModel):
    """`y` is `value` and its double, after `delay_s`; `kind` says what is wrong with the answer, 0 for nothing."""

    async def load(self) -> bool:
        self.inputs = [
            MetadataTensor(name="kind", datatype="INT64", shape=[1]),
            MetadataTensor(name="delay_s", datatype="FP32", shape=[1]),
            MetadataTensor(name="value", datatype="FP32", shape=[-1]),
        ]
        self.outputs = [MetadataTensor(name="y", datatype="FP32", shape=[-1, 2])]
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        given = {tensor.name: tensor.data.root for tensor in payload.inputs}
        await asyncio.sleep(given["delay_s"][0])
        value = given["value"][0]
        y: dict[str, Any] = {"name": "y", "shape": [1, 2], "datatype": "FP32", "data": [value, 2 * value]}
        name = self.name
        match given["kind"][0]:
            case 1:
                y |= {"shape": [2]}
            case 2:
                y |= {"datatype": "INT64", "data": [1, 2]}
            case 3:
                y |= {"name": "z"}
            case 4:
                name = "another"
            case 5:
                raise RuntimeError("the model broke")
            case 6:
                y |= {"data": [math.nan, value]}
            case 7:
                y |= {"shape": [-1, 2]}
        return InferenceResponse(model_name=name, outputs=[ResponseOutput(**y)])
