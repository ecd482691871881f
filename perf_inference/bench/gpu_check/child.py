"""One section in a process of its own: `python -m perf_inference.bench.gpu_check.child SECTION LINES [CHECK | -CHECK]`.

A check that is named is run alone, one with a minus before it is left out.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from perf_inference.bench.gpu_check.section import SECTIONS, Result, run_check


def main(arguments: Sequence[str]) -> int:
    """Run the checks, each one's result a line of JSON that is written at once."""
    name, path, *named = arguments
    only = [word for word in named if not word.startswith("-")]
    section = next(section for section in SECTIONS if section.name == name)
    with Path(path).open("a", encoding="utf-8", buffering=1) as lines:

        def write(result: Result) -> None:
            lines.write(json.dumps(asdict(result), default=str) + "\n")

        try:
            checks = section.checks()
        except Exception as error:
            traceback.print_exc()
            status = "skipped" if isinstance(error, ImportError) else "failed"
            write(Result(section.name, "import", status, f"{type(error).__name__}: {error}"))  # type: ignore[arg-type]
            return 0
        for check_name, check in checks.items():
            if (only and check_name not in only) or f"-{check_name}" in named:
                continue
            print(f"{section.name}.{check_name} ...", file=sys.stderr, flush=True)  # what a limit or a crash cut short
            write(run_check(section, check_name, check))
    return 0


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # a broken CUDA context can crash while it is torn down, and nothing is left to save
