"""What `perf-inference predict` does, once its arguments are known."""

from __future__ import annotations

import argparse
import glob
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from perf_inference import model_build
from perf_inference.commands.predict import captions, sounds
from perf_inference.commands.predict.output import STANDARD_OUTPUT, JsonList, Saver, Stages, json_list, line_of
from perf_inference.commands.predict.sources import Item, items
from perf_inference.engines import Engine, Options
from perf_inference.errors import ConfigError, EngineError, InputError
from perf_inference.files.bounded_yaml import YamlError, read_yaml
from perf_inference.printable import printable
from perf_inference.tasks.class_names_file import names_in
from perf_inference.tasks.vision.annotate import annotate
from perf_inference.tasks.vision.as_json import found_dict
from perf_inference.tasks.vision.found import Found
from perf_inference.tasks.vision.task import Limits, YoloTask

DONE, NOTHING, PARTLY = 0, 1, 3
_FILES = (".txt", ".yaml", ".yml", ".json")


def run(options: argparse.Namespace) -> int:
    """Predict image by image; return the status."""
    people = sys.stderr if options.json == STANDARD_OUTPUT else sys.stdout
    asked = Options(
        precision=options.precision,
        device=options.device,
        threads=options.threads,
        architecture=options.architecture,
        allow_pickle=options.allow_pickle,
    )
    engine = model_build.load(options.model, options.runtime, captions.options_of(options, asked))
    try:
        if sounds.hears(engine):
            with json_list(options.json) as entries:
                return _heard(engine, options, entries, people)
        predictor = _Predictor(engine, options, people)
        saver = Saver(options.save)
        try:
            with json_list(options.json) as entries:
                done, failed = _all(predictor, items(options.inputs, options.topic), entries, saver)
        finally:
            saver.close()
    finally:
        engine.close()
    for line in predictor.stages.lines():
        print(line, file=people)
    if failed:
        return PARTLY if done else NOTHING
    return DONE


def _heard(engine: Engine, options: argparse.Namespace, entries: JsonList, people: IO[str]) -> int:
    """Listen to file by file; return the status."""
    done = failed = 0
    for path in sound_files(options.inputs):
        try:
            entry = sounds.predict_audio(engine, path, options.chunk, options.hop, options.batch)
        except (InputError, EngineError, OSError) as error:
            failed += 1
            print(f"perf-inference predict: {printable(f'{path}: {error}')}", file=sys.stderr)
            continue
        done += 1
        entries.add(entry)
        said = " ".join(str(chunk.get("text", chunk.get("class_name", ""))) for chunk in entry["chunks"])
        print(printable(f"{path}: {entry['duration_s']:.2f} s, {len(entry['chunks'])} chunks: {said}"), file=people)
    if failed:
        return PARTLY if done else NOTHING
    return DONE


def sound_files(inputs: list[str]) -> Iterator[Path]:
    """Yield the files: those of a folder or a pattern in the order of their names, each other one as it is."""
    for text in inputs:
        path = Path(text).expanduser()
        if path.is_dir():
            yield from sorted(file for file in path.iterdir() if sounds.is_sound(file))
        elif not path.exists() and glob.has_magic(text):
            yield from (Path(name) for name in sorted(glob.glob(text)) or [text])
        else:
            yield path


def _all(predictor: _Predictor, source: Iterator[Item], entries: JsonList, saver: Saver) -> tuple[int, int]:
    """Return how many images were predicted, and how many inputs or images were not."""
    done = failed = 0
    for item in source:
        if wrong := _one(predictor, item, entries, saver):
            failed += 1
            print(f"perf-inference predict: {printable(wrong)}", file=sys.stderr)
        else:
            done += 1
    return done, failed


def _one(predictor: _Predictor, item: Item, entries: JsonList, saver: Saver) -> str:
    """Predict one image; return what is wrong with it, or nothing."""
    if item.image is None:
        return item.error
    try:
        predictor.predict(item, entries, saver)
    except (InputError, EngineError) as error:
        return f"{item.name}: {error}"
    return ""


class _Predictor:
    """One model, and what becomes of an image."""

    def __init__(self, engine: Engine, options: argparse.Namespace, people: IO[str]) -> None:
        self._engine, self._people = engine, people
        self.stages = Stages()
        self._say: Callable[[Item, Any, Any], tuple[dict[str, Any], str]]
        self._task: Any
        if captions.is_captioner(engine):
            self._task, self._say = captions.task_of(engine, options), self._caption
            return
        task = self._task = YoloTask(
            engine,
            options.layout,
            class_names=_names(options.names),
            default_size_px=options.input_size,
            kind=options.kind,
            image=_image(options.image),
            keypoint_shape=_keypoints(options.keypoints),
        )
        wanted = [part for part in options.classes.split(",") if part.strip()]
        task.limits = Limits(
            confidence=options.confidence,
            iou=options.iou,
            max_detections=options.max_detections,
            class_agnostic=options.agnostic,
            classes=task.class_numbers(wanted),
            top=options.top,
        )
        self._say = self._found
        if task.note:
            print(f"perf-inference predict: {printable(task.note)}", file=sys.stderr)

    def predict(self, item: Item, entries: JsonList, saver: Saver) -> None:
        """Predict one image, and write what was found.

        Raises:
            InputError, EngineError: this image has no result; the next may have one.
        """
        assert item.image is not None
        marks = [time.monotonic_ns()]
        inputs, context = self._task.preprocess(item.image)
        marks.append(time.monotonic_ns())
        outputs = self._engine.infer(inputs)
        marks.append(time.monotonic_ns())
        result = self._task.postprocess(outputs, context)
        marks.append(time.monotonic_ns())
        self.stages.add("decode", item.decode_ns)
        for stage, begin, end in zip(("preprocess", "infer", "postprocess"), marks[:-1], marks[1:], strict=True):
            self.stages.add(stage, end - begin)
        entry, line = self._say(item, result, outputs)
        entries.add({"image": item.name, **dict(item.extra), **entry})
        print(line, file=self._people)
        if saver:
            drawn: NDArray[np.uint8] = item.image.copy()
            if isinstance(result, Found):
                annotate(drawn, result)
            saver.save(item, drawn)

    def _found(self, item: Item, result: Found, outputs: Any) -> tuple[dict[str, Any], str]:
        return found_dict(result), line_of(item, result)

    def _caption(self, item: Item, result: Any, outputs: Any) -> tuple[dict[str, Any], str]:
        assert item.image is not None
        entry = captions.entry(result, item.image)
        sure = "" if result.score is None else f" {result.score:.2f}"
        return entry, printable(f"{item.name}: {entry['width']}x{entry['height']} caption: {result.text}{sure}")


def _names(said: str) -> tuple[str, ...]:
    if said.lower().endswith(_FILES):
        return names_in(Path(said).expanduser())
    return tuple(name.strip() for name in said.split(",") if name.strip())


def _keypoints(said: str) -> tuple[int, ...]:
    parts = said.lower().split("x") if said else []
    if parts and not (len(parts) == 2 and all(part.isdecimal() and int(part) for part in parts)):
        raise ConfigError(f"--keypoints must be COUNTxNUMBERS, such as 17x3, got '{said}'")
    return tuple(map(int, parts))


def _image(said: list[str]) -> dict[str, Any]:
    """Return the image block's keys of KEY=VALUE texts."""
    block: dict[str, Any] = {}
    for text in said:
        key, separator, value = text.partition("=")
        try:
            parsed = read_yaml(f"[{value}]") if separator else None
        except YamlError:
            parsed = None
        if not parsed:
            raise ConfigError(f"--image must be KEY=VALUE, such as fit=crop or mean=0.485,0.456,0.406, got '{text}'")
        values = parsed[0] if isinstance(parsed[0], list) and len(parsed) == 1 else parsed
        block[key.strip()] = values if key.strip() in ("size", "mean", "std") else values[0]
    return block
