"""The images of what a user names: files, folders, patterns, videos, recordings; one at a time, in order."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from perf_inference.errors import ConfigError, InputError, PerfInferenceError, RecordingError
from perf_inference.files.images import decode_image, read_image
from perf_inference.files.names import IMAGE_SUFFIXES, natural_order
from perf_inference.recording.image_message import COMPRESSED, IMAGE, RecordedImage, read_recorded_image
from perf_inference.recording.open import Bag, open_source

VIDEO_SUFFIXES = (".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v", ".mpg", ".mpeg")
_RECORDINGS = (".mcap", ".db3", ".jsonl", ".zstd", ".zst")
_IMAGES = (*IMAGE_SUFFIXES, ".bmp")


@dataclass(frozen=True)
class Item:
    """One image, or why there is none."""

    name: str  # as the user gave it; of a folder, with its name in front
    image: NDArray[np.uint8] | None
    error: str = ""
    decode_ns: int = 0
    extra: tuple[tuple[str, Any], ...] = ()  # frame of a video; topic and stamp_ns of a recording
    is_video: bool = False


def items(inputs: Sequence[str], topic: str) -> Iterator[Item]:
    """Yield the images of all inputs, one at a time.

    Args:
        topic: of recordings with several image topics.
    """
    for name in inputs:
        path = Path(name).expanduser()
        if path.is_dir():
            yield from _folder(path, topic)
        elif path.exists():
            yield from _file(path, topic)
        elif matches := sorted(glob(str(path), recursive=True), key=lambda match: natural_order(Path(match))):
            for match in matches:
                yield from _folder(Path(match), topic) if Path(match).is_dir() else _file(Path(match), topic)
        else:
            yield Item(name, None, f"there is nothing at '{name}'")


def _folder(path: Path, topic: str) -> Iterator[Item]:
    try:
        files = sorted(path.iterdir(), key=natural_order)
    except OSError as error:
        yield Item(str(path), None, f"'{path}' cannot be read: {error.strerror}")
        return
    if any(file.name.endswith(_RECORDINGS) or file.name == "metadata.yaml" for file in files):
        yield from _recording(path, topic)
        return
    wanted = [file for file in files if file.suffix.lower() in (*_IMAGES, *VIDEO_SUFFIXES)]
    if not wanted:
        yield Item(str(path), None, f"'{path}' has no images ({', '.join(_IMAGES)}), videos or recording")
    for file in wanted:
        yield from _file(file, topic)


def _file(path: Path, topic: str) -> Iterator[Item]:
    if path.suffix.lower() in VIDEO_SUFFIXES:
        yield from _video(path)
    elif path.name.endswith(_RECORDINGS):
        yield from _recording(path, topic)
    else:
        start = time.monotonic_ns()
        try:
            image = read_image(path, bmp=True)
        except InputError as error:
            yield Item(str(path), None, str(error))
        else:
            yield Item(str(path), image, decode_ns=time.monotonic_ns() - start)


def _video(path: Path) -> Iterator[Item]:
    video = cv2.VideoCapture(str(path))
    try:
        frame = 0
        while True:
            start = time.monotonic_ns()
            there, image = video.read() if video.isOpened() else (False, None)
            if not there or image is None:
                break
            yield Item(
                str(path), np.asarray(image, np.uint8), "", time.monotonic_ns() - start, (("frame", frame),), True
            )
            frame += 1
        said = int(video.get(cv2.CAP_PROP_FRAME_COUNT)) if video.isOpened() else 0
        if not frame:
            yield Item(str(path), None, f"{path} is no video that OpenCV can read")
        elif said > frame:
            yield Item(str(path), None, f"{path} ends after {frame} of {said} frames: it is cut off or broken")
    finally:
        video.release()


def _recording(path: Path, topic: str) -> Iterator[Item]:
    try:
        bag = open_source(path)
    except (ConfigError, RecordingError) as error:
        yield Item(str(path), None, str(error))
        return
    try:
        if not isinstance(bag, Bag):
            yield Item(str(path), None, f"'{path}' is no recording")
            return
        yield from _messages(bag, path, _image_topic(bag, path, topic))
    except (InputError, RecordingError) as error:
        yield Item(str(path), None, str(error))
    finally:
        bag.close()


def _image_topic(bag: Bag, path: Path, topic: str) -> str:
    """Return the topic whose images are meant.

    Raises:
        ConfigError: there are several, and none was named, or another.
    """
    found = [one.name for one in bag.topics if one.type in (IMAGE, COMPRESSED) and one.encoding == "cdr"]
    if topic:
        if topic not in found:
            raise ConfigError(f"'{path}' has no images on {topic}; it has {', '.join(found) or 'none'}")
        return topic
    if not found:
        raise InputError(f"'{path}' has no images; it has {', '.join(one.name for one in bag.topics)[:300]}")
    if len(found) > 1:
        raise ConfigError(f"'{path}' has images on {', '.join(found)}; choose one with --topic")
    return found[0]


def _messages(bag: Bag, path: Path, topic: str) -> Iterator[Item]:
    for message in bag.messages():
        if message.topic != topic:
            continue
        extra = (("topic", topic), ("stamp_ns", message.t_ns))
        start = time.monotonic_ns()
        try:
            read = read_recorded_image(message.data, message.type)
            extra = (("topic", topic), ("stamp_ns", read.stamp_ns))
            image = pixels_of(read, message.type)
        except PerfInferenceError as error:
            yield Item(str(path), None, f"{path}, {topic} at {message.t_ns}: {error}", extra=extra)
        else:
            yield Item(str(path), image, "", time.monotonic_ns() - start, extra)


def pixels_of(read: RecordedImage, type_name: str) -> NDArray[np.uint8]:
    """Return BGR [H, W, 3], in memory of its own."""
    if type_name == COMPRESSED:
        return np.asarray(decode_image(read.data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION), np.uint8)
    from perf_inference.nodes.images.encodings import convert, encoding_of, pixels

    known = encoding_of(read.encoding)
    image, chroma = pixels(read, known)
    if known.code is None and chroma is None and image.dtype == np.uint8:
        return np.array(image, np.uint8)
    height = image.shape[0] * 2 // 3 if known.semi_planar == 1 else image.shape[0]
    out = np.empty((height, image.shape[1], 3), np.uint8)
    try:
        made = convert(image, chroma, known, out, lambda use, shape, dtype: np.empty(shape, dtype))
    except cv2.error as error:
        raise InputError(f"an image of {read.width}x{read.height} cannot be {read.encoding}: {error.err}") from error
    return np.asarray(made, np.uint8)
