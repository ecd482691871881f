"""What the simulated robot can say of a model: its score, and inputs as it will meet them.

Only for models of the demo's own tasks: those that know its classes, its words or its joints.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from numpy.typing import NDArray

from perf_inference.demo import score
from perf_inference.demo.arm import Vector
from perf_inference.demo.evaluate import Floats, Run, engine_policy, reached
from perf_inference.demo.scenes import CLASS_NAMES, COLORS, SHAPES, Image, render
from perf_inference.demo.training import test_scenes, train_scenes
from perf_inference.demo.world import World
from perf_inference.engines import Engine
from perf_inference.tasks.language.caption import CaptionTask
from perf_inference.tasks.vision.task import YoloTask

DETECT, CAPTION, POLICY = "detect", "caption", "policy"
_OTHER_WORLD = 1  # seed; the score's is another
_EPISODES = 10  # in the time of so many scenes; one drives about 15 images

Inputs = Mapping[str, NDArray[Any]]


class Score(NamedTuple):
    """A task's own figure."""

    name: str
    value: float  # share [0, 1]
    samples: int  # scenes or episodes that it rests on


def task_of(engine: Engine) -> str | None:
    """Return which of the demo's tasks this model does; None: none of them."""
    said = engine.info.metadata
    try:
        if "names" in said and list(dict(ast.literal_eval(said["names"])).values()) == list(CLASS_NAMES):
            return DETECT
        if "vocabulary" in said and {*COLORS, *SHAPES} <= set(json.loads(said["vocabulary"])):
            return CAPTION
    except (ValueError, TypeError, SyntaxError):
        return None
    shapes = {spec.name: spec.shape for spec in engine.inputs}
    is_policy = shapes == {"force": (1, 65, 6), "joints": (1, 65, 4), "image": (1, 96, 128, 3)}
    return POLICY if is_policy else None


def score_of(engine: Engine, count: int) -> Score | None:
    """Return how well the model does on held-out scenes (a policy: on a tenth as many episodes); None: no such task."""
    task = task_of(engine)
    if task == DETECT:
        return Score("mAP50", score.detector_map50(engine, test_scenes(count)), count)
    if task == CAPTION:
        return Score("exact sentences", score.caption_exact(engine, test_scenes(count)), count)
    if task == POLICY:
        episodes = max(1, count // _EPISODES)
        return Score("targets reached", reached(engine, episodes), episodes)
    return None


def inputs_of(engine: Engine, count: int) -> list[Inputs]:
    """Return inputs as the model meets them in the demo, none of which `score_of` takes; [] for other tasks."""
    task = task_of(engine)
    if task in (DETECT, CAPTION):
        preprocess = (YoloTask(engine) if task == DETECT else CaptionTask(engine)).preprocess
        return [preprocess(render(scene))[0] for scene in train_scenes(count)]
    if task == POLICY:
        seen: list[Inputs] = []
        act = engine_policy(engine)

        def watched(force: Floats, joints: Floats, image: Image) -> Vector:
            seen.append({"force": force, "joints": joints, "image": image})
            return act(force, joints, image)

        run = Run(World(_OTHER_WORLD), watched)
        for index in range(count):
            if len(seen) < count:
                run.episode(index)
        return seen[:count]
    return []
