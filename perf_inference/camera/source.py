"""Where images come from: the interface, and which kind a text names."""

from __future__ import annotations

import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from perf_inference.errors import ConfigError

Bgr = NDArray[np.uint8]
Room = Callable[[tuple[int, int, int]], Bgr]
"""Returns memory for an image [height, width, 3] that is made next; until then it may be the one before."""

DEVICE, FILE, FOLDER, ADDRESS, PIPELINE = "device", "file", "folder", "address", "pipeline"
_ADDRESS = re.compile(r"(https?|rtsps?|rtspt|rtmps?|udp|tcp|rtp|srt|mms)://\S+", re.IGNORECASE)


@dataclass(frozen=True)
class Format:
    """What the driver says of its images."""

    driver: str  # V4L2, FFMPEG, GSTREAMER; of a folder: files
    pixels: str  # its code of four letters (MJPG, YUYV, H264); empty: it does not say
    width_px: int
    height_px: int
    rate_hz: float | None  # None: it does not say

    def __str__(self) -> str:
        rate = "" if self.rate_hz is None else f" at {self.rate_hz:g} Hz"
        return f"{self.pixels or 'images'} {self.width_px}x{self.height_px}{rate} by {self.driver}"


@dataclass(frozen=True)
class Asked:
    """What a device is asked for; 0 and empty: as it is."""

    width_px: int = 0
    height_px: int = 0
    rate_hz: float = 0.0
    pixels: str = ""

    def differs(self, got: Format) -> str:
        """Return one sentence where the driver gives something else; else nothing."""
        pairs = (
            ("width", self.width_px, got.width_px),
            ("height", self.height_px, got.height_px),
            ("fps", self.rate_hz, got.rate_hz or 0.0),
            ("pixel_format", self.pixels, got.pixels),
        )
        others = [f"{name} {wanted}" for name, wanted, is_ in pairs if wanted and wanted != is_]
        return f"the camera gives {got}, where {', '.join(others)} was asked for" if others else ""


NOTHING_ASKED = Asked()


class Source(Protocol):
    """A source of images, opened and closed again and again by one thread."""

    kind: str
    name: str  # without secrets

    def open(self) -> Format:
        """Open it.

        Raises:
            CameraError: it is not there now.
        """

    def grab(self) -> int | None:
        """Wait for the next image; return when it was taken [ns, monotonic], or None after the last.

        Raises:
            CameraError: it is gone.
        """

    def image(self, room: Room) -> Bgr:
        """Return the image that was grabbed, where it can be in that memory.

        Raises:
            InputError: it cannot be decoded.
        """

    def close(self) -> None:
        """Free it; a second call does nothing."""


def kind_of(source: str) -> str:
    """Return which kind of source a text names.

    Raises:
        ConfigError: none; the text, which may hold a password, is not in its sentence.
    """
    if re.fullmatch(r"[0-9]{1,3}", source):
        return DEVICE
    path = Path(source).expanduser()
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        mode = 0
    if stat.S_ISDIR(mode):
        return FOLDER
    if stat.S_ISREG(mode):
        return FILE
    if stat.S_ISCHR(mode) or (source.startswith("/dev/") and not source.startswith("/dev/shm/")):
        return DEVICE
    if _ADDRESS.fullmatch(source):
        return ADDRESS
    if re.search(r"\s!\s", source):
        return PIPELINE
    raise ConfigError(
        "source must be a device (0, /dev/video0), a file, a folder of images, an address (rtsp://, http://) or a "
        "GStreamer pipeline (... ! appsink)"
    )
