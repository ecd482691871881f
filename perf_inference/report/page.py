"""The page of every report: one HTML file that needs nothing else, neither a network nor a script."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from perf_inference._version import VERSION
from perf_inference.errors import RecordingError
from perf_inference.files.whole import whole_file
from perf_inference.report.style import STYLE
from perf_inference.report.svg import text

_MARK = b"<!DOCTYPE html>\n<!-- perf_inference report -->"
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def check_page(path: Path) -> None:
    """Check before the work that a report can be written there.

    Raises:
        RecordingError: it cannot, or it would take the place of something else.
    """
    if path.is_dir() or not path.parent.is_dir():
        raise RecordingError(f"--html must name a file in a directory that is there, got {path}")
    try:
        if path.is_file() and path.stat().st_size:
            with open(path, "rb") as file:
                if file.read(len(_MARK)) != _MARK:
                    raise RecordingError(f"{path} is there and is no report; choose another name for --html")
        if not os.access(path if path.exists() else path.parent, os.W_OK):
            raise PermissionError(13, "permission denied")
    except OSError as error:
        raise RecordingError(f"--html {path} cannot be written: {error.strerror}") from error


def write_page(path: Path, page: str) -> None:
    """Write a page; a reader sees the old one or the new one.

    Raises:
        RecordingError: the file cannot be written.
    """
    try:
        with whole_file(path) as file:
            file.write(page.encode("utf-8", "replace"))
    except OSError as error:
        raise RecordingError(f"--html {path} cannot be written: {error.strerror}") from error


def page_of(title: str, by: str, parts: Iterable[str]) -> str:
    """Return the page of these parts (HTML); `title` and the command that made it, `by`, are plain text."""
    return "\n".join(
        (
            _MARK.decode(),
            '<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            '<meta name="viewport" content="width=device-width,initial-scale=1">',
            f"<title>{text(title)}</title><style>{STYLE}</style></head><body>",
            f"<h1>{text(title)}</h1>",
            *parts,
            f'<p class="dim">{text(by)} {text(VERSION)}</p></body></html>\n',
        )
    )


def section(name: str, title: str, parts: Iterable[str], lead: str = "") -> str:
    """Return a section (HTML); `title` and `lead` are HTML too."""
    opening = f'<p class="lead">{lead}</p>' if lead else ""
    return f'<section id="{name}"><h2>{title}</h2>{opening}{"".join(parts)}</section>'
