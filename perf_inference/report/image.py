"""The annotated image that a run's directory keeps, within the page."""

from __future__ import annotations

import base64
from pathlib import Path

from perf_inference.files.regular import open_regular
from perf_inference.recording.run_directory import IMAGE
from perf_inference.report.svg import text

_MOST_BYTES = 1_000_000  # a report stays under 2 MB
_JPEG = b"\xff\xd8\xff"


def kept_image(directory: Path) -> str:
    """Return the image as HTML; one sentence where it cannot be shown, nothing where there is none."""
    path = directory / IMAGE
    try:
        with open_regular(path) as file:
            data = file.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        return ""
    except OSError as error:
        return _absent(f"cannot be read: {error.strerror}")
    if len(data) > _MOST_BYTES:
        return _absent(f"is over {_MOST_BYTES / 1e6:g} MB")
    if not data.startswith(_JPEG):
        return _absent("is no JPEG")
    return (
        '<img class="kept" alt="an annotated image of the run" '
        f'src="data:image/jpeg;base64,{base64.b64encode(data).decode()}">'
    )


def _absent(why: str) -> str:
    return f'<p class="dim">{text(IMAGE)} is not shown: it {text(why)}.</p>'
