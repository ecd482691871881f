"""Tests in several processes: many beside one another, or one alone."""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from support.paths import ROOT

_NAME = f"perf_inference_tests_{os.getuid()}_{hashlib.sha256(str(ROOT).encode()).hexdigest()[:12]}"
_PLACE = os.path.join(tempfile.gettempdir(), _NAME)


@contextmanager
def turn(*, alone: bool) -> Iterator[None]:
    """Wait until this test may run: beside others that are not alone, or with nobody beside it.

    Two locks, as a door and a room: who waits for the empty room holds the door, so that nobody enters before him.
    """
    with open(f"{_PLACE}.door", "w") as door, open(f"{_PLACE}.room", "w") as room:
        fcntl.flock(door, fcntl.LOCK_EX)
        fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(door, fcntl.LOCK_UN)
        yield
