"""What `predict` writes: JSON as it comes, drawn images, lines for people, and the table of the stages."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import cv2
import numpy as np
import orjson
from numpy.typing import NDArray

from perf_inference.commands.predict.sources import Item
from perf_inference.errors import ConfigError, PerfInferenceError
from perf_inference.files.whole import not_written, whole_file
from perf_inference.measure.statistics import Distribution
from perf_inference.printable import printable
from perf_inference.tasks.vision.found import Found

STANDARD_OUTPUT = "-"
_WRITTEN = (".jpg", ".jpeg", ".png", ".bmp")
_VIDEO_CODES = {".avi": "MJPG"}
_MOST_NAMED = 6  # classes in a line


class JsonList:
    """A JSON list whose entries are written as they come."""

    def __init__(self, file: IO[bytes] | None) -> None:
        self._file, self._first = file, True

    def add(self, entry: Mapping[str, Any]) -> None:
        if self._file is None:
            return
        self._file.write((b"[\n" if self._first else b",\n") + orjson.dumps(entry))
        self._first = False

    def end(self) -> None:
        if self._file is not None:
            self._file.write(b"[]\n" if self._first else b"\n]\n")
            self._file.flush()


@contextmanager
def json_list(target: str | None) -> Iterator[JsonList]:
    """Give a list that ends with the block; a file is there whole or not at all."""
    if target is None:
        yield JsonList(None)
        return
    if target == STANDARD_OUTPUT:
        entries = JsonList(sys.stdout.buffer)
        yield entries
        entries.end()
        return
    path = Path(target).expanduser()
    try:
        with whole_file(path) as file:
            entries = JsonList(file)
            yield entries
            entries.end()
    except OSError as error:
        raise not_written(path, error) from error


class Saver:
    """Writes drawn images to a folder under their own names; of two with one name the second gets a number."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._names: set[str] = set()
        self._video: tuple[str, Any, str] | None = None
        if folder is not None:
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise ConfigError(f"--save must name a folder, '{folder}' cannot be made: {error.strerror}") from error

    def __bool__(self) -> bool:
        return self._folder is not None

    def save(self, item: Item, image: NDArray[np.uint8]) -> None:
        """Write one image.

        Raises:
            PerfInferenceError: it cannot be written, or would take the place of what was read.
        """
        if self._folder is None:
            return
        source = Path(item.name)
        if item.is_video:
            self._save_frame(source, image)
            return
        suffix = source.suffix if source.suffix.lower() in _WRITTEN else ".png"
        target = self._target(source, suffix)
        encoded, data = cv2.imencode(suffix.lower(), image)
        if not encoded:
            raise PerfInferenceError(f"'{target}' cannot be written: OpenCV does not encode it")
        try:
            with whole_file(target, durable=False) as file:
                file.write(data.tobytes())
        except OSError as error:
            raise not_written(target, error) from error

    def close(self) -> None:
        """End the video that is being written."""
        if self._video is not None:
            self._video[1].release()
            self._video = None

    def _target(self, source: Path, suffix: str) -> Path:
        assert self._folder is not None
        name, count = f"{source.stem}{suffix}", 1
        while name in self._names:
            count += 1
            name = f"{source.stem}_{count}{suffix}"
        self._names.add(name)
        target = self._folder / name
        if target.exists() and source.exists() and target.samefile(source):
            raise ConfigError(f"--save {self._folder} would overwrite '{source}'; name another folder")
        return target

    def _save_frame(self, source: Path, image: NDArray[np.uint8]) -> None:
        if self._video is None or self._video[0] != str(source):
            self.close()
            suffix = ".avi" if source.suffix.lower() == ".avi" else ".mp4"
            target = self._target(source, suffix)
            reader = cv2.VideoCapture(str(source))
            rate = reader.get(cv2.CAP_PROP_FPS) or 25.0
            reader.release()
            code = cv2.VideoWriter.fourcc(*_VIDEO_CODES.get(suffix, "mp4v"))
            writer = cv2.VideoWriter(str(target), code, rate, (image.shape[1], image.shape[0]))
            if not writer.isOpened():
                raise PerfInferenceError(f"'{target}' cannot be written: OpenCV opens no such video here")
            self._video = (str(source), writer, str(target))
        self._video[1].write(np.ascontiguousarray(image))


def line_of(item: Item, found: Found) -> str:
    """Return the line for people about one image."""
    place = "".join(f" {key} {value}" for key, value in item.extra)
    if found.kind == "classify":
        said = ", ".join(f"{one.class_name} {one.score:.2f}" for one in found)
    else:
        counts = Counter(found.name(number) for number in found.class_ids.tolist())
        named = [f"{count} {name}" for name, count in counts.most_common(_MOST_NAMED)]
        said = ", ".join(named) + (", ..." if len(counts) > _MOST_NAMED else "") or "nothing"
    lost = f"; {found.not_finite} candidates were not finite and are left out" if found.not_finite else ""
    return printable(f"{item.name}{place}: {found.width_px}x{found.height_px} {found.kind}: {said}{lost}")


class Stages:
    """How long the stages took."""

    def __init__(self) -> None:
        self._taken: dict[str, Distribution] = {}

    def add(self, stage: str, duration_ns: int) -> None:
        self._taken.setdefault(stage, Distribution()).add(duration_ns)

    def lines(self) -> Iterator[str]:
        """Yield the table; a percentile that so few images do not give stays out."""
        if not self._taken:
            return
        yield f"{'[ms]':<12}{'mean':>10}{'p50':>10}{'p90':>10}{'max':>10}{'images':>10}"
        for stage, taken in self._taken.items():
            figures = taken.summary_ms()
            row = "".join(f"{'-' if figures[key] is None else format(figures[key], '.3f'):>10}"
                          for key in ("mean", "p50", "p90", "max"))  # fmt: skip
            yield f"{stage:<12}{row}{figures['n']:>10}"
