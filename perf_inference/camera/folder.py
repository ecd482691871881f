"""A folder of images as a camera: JPEG and PNG in the order of their names, read again from the first on."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

from perf_inference.camera.source import FOLDER, Bgr, Format, Room
from perf_inference.errors import CameraError, InputError
from perf_inference.files.images import read_image
from perf_inference.files.names import IMAGE_SUFFIXES, natural_order


class FolderSource:
    """The images that lie in the folder when it is opened."""

    kind = FOLDER

    def __init__(self, name: str, source: str, monotonic_ns: Callable[[], int] = time.monotonic_ns) -> None:
        """Look at nothing yet; `name` is what is shown of it."""
        self.name = name
        self._format: Format | None = None
        self._path = Path(source).expanduser()
        self._monotonic_ns = monotonic_ns
        self._left: list[Path] = []
        self._newest: Path | None = None

    def open(self) -> Format:
        try:
            found = [path for path in self._path.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES]
        except OSError as error:
            raise CameraError(f"{self.name} cannot be read: {error.strerror}") from None
        if not found:
            raise CameraError(f"{self.name} has no images ({', '.join(IMAGE_SUFFIXES)})")
        self._left = sorted(found, key=natural_order, reverse=True)
        self._format = self._format or self._look()
        return self._format

    def grab(self) -> int | None:
        if not self._left:
            return None
        self._newest = self._left.pop()
        if not self._newest.exists() and not self._path.is_dir():
            raise CameraError(f"{self.name} was removed")
        return self._monotonic_ns()

    def image(self, room: Room) -> Bgr:
        if self._newest is None:
            raise InputError("no image was grabbed")
        return read_image(self._newest)

    def _look(self) -> Format:
        """Return the format of the first image that can be read."""
        for path in reversed(self._left):
            with contextlib.suppress(InputError):
                height, width = read_image(path).shape[:2]
                return Format("files", path.suffix[1:].lower(), width, height, None)
        raise CameraError(f"none of the {len(self._left)} images in {self.name} can be read")

    def close(self) -> None:
        self._left, self._newest = [], None
