"""Devices, video files, addresses and GStreamer pipelines, by OpenCV's VideoCapture."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# FFmpeg and OpenCV print addresses with their passwords; what is wrong is said by the node.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

import cv2
import numpy as np

from perf_inference.camera.source import ADDRESS, DEVICE, FILE, NOTHING_ASKED, PIPELINE, Asked, Bgr, Format, Room
from perf_inference.errors import CameraError, ConfigError, InputError

_GSTREAMER = cv2.CAP_GSTREAMER  # it, or FFmpeg, is always named: others print what they cannot read
_MOST_HZ = 1000.0
_OLDEST_NS = 2_000_000_000  # a driver's time stamp that is older is of another clock


class VideoSource:
    """One VideoCapture, opened again and again."""

    def __init__(
        self,
        kind: str,
        name: str,
        source: str,
        asked: Asked = NOTHING_ASKED,
        timeout_s: float = 5.0,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        capture: Callable[..., Any] = cv2.VideoCapture,
    ) -> None:
        """Open nothing yet.

        Args:
            name: what is shown of it.
            timeout_s: of an address, to be opened and for each image.

        Raises:
            ConfigError: OpenCV has no GStreamer, or the pixel format is no code of four letters.
        """
        self.kind, self.name = kind, name
        self._source, self._asked, self._timeout_ms = source, asked, round(timeout_s * 1000)
        self._monotonic_ns, self._capture = monotonic_ns, capture
        self._video: Any = None
        self._size: tuple[int, int, int] | None = None
        if kind == PIPELINE and not _is_built_with("GStreamer"):
            raise ConfigError(
                "a GStreamer pipeline needs an OpenCV with GStreamer, and this one, as pip's, has none: apt install "
                "python3-opencv, or name the camera as a device or an address"
            )
        if asked.pixels and (len(asked.pixels) != 4 or not asked.pixels.isascii()):
            raise ConfigError(f"pixel_format must be a code of four letters such as MJPG, got '{asked.pixels}'")
        with contextlib.suppress(AttributeError):  # of an old OpenCV
            cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

    def open(self) -> Format:
        self.close()
        if self.kind == FILE and not Path(self._source).expanduser().is_file():
            raise CameraError(f"{self.name} is not there")
        try:
            self._video = self._capture(*self._arguments())
        except (cv2.error, SystemError):  # what it says has the address in it
            raise CameraError(f"{self.name} {_NOT_OPENED[self.kind]}") from None
        if not self._video.isOpened():
            self.close()
            raise CameraError(f"{self.name} {_NOT_OPENED[self.kind]}")
        if self.kind == DEVICE:
            self._ask()
        video = self._video
        width, height = (int(video.get(which)) for which in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        self._size = (height, width, 3) if width > 0 and height > 0 else None
        return Format(
            self._driver(), _letters(int(video.get(cv2.CAP_PROP_FOURCC))), width, height,
            _rate(float(video.get(cv2.CAP_PROP_FPS))),
        )  # fmt: skip

    def grab(self) -> int | None:
        if self.kind == FILE and not Path(self._source).expanduser().exists():
            raise CameraError(f"{self.name} was removed")
        try:
            there = self._video is not None and self._video.grab()
        except cv2.error:
            there = False
        now_ns = self._monotonic_ns()
        if there:
            return self._taken_ns(now_ns)
        if self.kind == FILE:
            return None
        raise CameraError(f"{self.name} gives no more images")

    def image(self, room: Room) -> Bgr:
        try:
            if self._size is None:
                there, image = self._video.retrieve()
            else:
                there, image = self._video.retrieve(room(self._size))
        except cv2.error as error:
            raise InputError(f"an image cannot be decoded: {error.err[:200]}") from None
        if not there or image is None or not image.size:
            raise InputError("an image cannot be decoded")
        if image.ndim == 2:
            image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
        if image.dtype != np.uint8 or image.shape[2] != 3:
            raise InputError(f"an image must be 8 bits of BGR, the driver gives {image.dtype} {image.shape}")
        self._size = image.shape
        return np.asarray(image)

    def close(self) -> None:
        video, self._video = self._video, None
        if video is not None:
            with contextlib.suppress(cv2.error):
                video.release()

    def _arguments(self) -> tuple[Any, ...]:
        if self.kind == DEVICE:
            return (int(self._source) if self._source.isdecimal() else self._source, cv2.CAP_V4L2)
        if self.kind == PIPELINE:
            return (self._source, _GSTREAMER)
        if self.kind == ADDRESS:
            waits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, self._timeout_ms, cv2.CAP_PROP_READ_TIMEOUT_MSEC, self._timeout_ms]
            return (self._source, cv2.CAP_FFMPEG, waits) if _is_built_with("FFMPEG") else (self._source, _GSTREAMER)
        return (str(Path(self._source).expanduser()), cv2.CAP_FFMPEG if _is_built_with("FFMPEG") else _GSTREAMER)

    def _ask(self) -> None:
        """Set what was asked for; the format before the size, which depends on it."""
        if self._asked.pixels:
            self._video.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*self._asked.pixels))
        for which, value in (
            (cv2.CAP_PROP_FRAME_WIDTH, self._asked.width_px),
            (cv2.CAP_PROP_FRAME_HEIGHT, self._asked.height_px),
            (cv2.CAP_PROP_FPS, self._asked.rate_hz),
        ):
            if value:
                self._video.set(which, value)

    def _taken_ns(self, now_ns: int) -> int:
        """Return when the image was taken: V4L2 says it, on the monotonic clock; of others, when it was there."""
        if self.kind != DEVICE:
            return now_ns
        said_ms = float(self._video.get(cv2.CAP_PROP_POS_MSEC))
        said_ns = round(said_ms * 1e6) if math.isfinite(said_ms) else 0
        return said_ns if 0 <= now_ns - said_ns <= _OLDEST_NS else now_ns

    def _driver(self) -> str:
        try:
            return str(self._video.getBackendName())
        except cv2.error:
            return "OpenCV"


_NOT_OPENED = {
    DEVICE: "is not there, or is in use (ls /dev/video*; v4l2-ctl --list-devices)",
    FILE: "is no video that OpenCV can read",
    ADDRESS: "does not answer, or sends no video that OpenCV can read",
    PIPELINE: "does not start (try it with gst-launch-1.0)",
}


def _letters(code: int) -> str:
    letters = code.to_bytes(4, "little").decode("ascii", "replace") if 0 < code < 1 << 32 else ""
    return letters.strip() if letters.isprintable() and letters.isascii() else ""


def _rate(rate_hz: float) -> float | None:
    return round(rate_hz, 3) if math.isfinite(rate_hz) and 0 < rate_hz <= _MOST_HZ else None


def _is_built_with(what: str) -> bool:
    return any(what in line and "YES" in line for line in cv2.getBuildInformation().splitlines())
