"""Where the tests lie, and what is beside the checkout."""

from __future__ import annotations

import os
from pathlib import Path

SUPPORT = Path(__file__).resolve().parent
TESTS = SUPPORT.parent
ROOT = TESTS.parent
SHARED_DATA = Path(os.environ.get("PERF_INFERENCE_TEST_DATA", ROOT.parent / "shared" / "data"))


def search_path(*first: Path | str) -> str:
    """Return a PYTHONPATH with these, the tests' folder and all that this process finds."""
    import sys

    return os.pathsep.join([*map(str, first), str(TESTS), *(entry for entry in sys.path if entry)])
