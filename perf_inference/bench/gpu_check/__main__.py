"""Run the checks: `python -m perf_inference.bench.gpu_check FOLDER [--only SECTION ...] [--without CHECK ...]`."""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from perf_inference.bench.gpu_check.page import page
from perf_inference.bench.gpu_check.running import run_all
from perf_inference.bench.gpu_check.section import SECTIONS


def main(arguments: Sequence[str] | None = None) -> int:
    """Run them, write `results.json` and `page.md`; 1 where a check went wrong or failed."""
    parser = argparse.ArgumentParser(prog="gpu_check.sh", description=__doc__)
    parser.add_argument("folder", type=Path, help="where results.json, page.md and the sections' own output go")
    names = [section.name for section in SECTIONS]
    parser.add_argument("--only", nargs="+", choices=names, default=[], metavar="SECTION", help=", ".join(names))
    parser.add_argument("--without", nargs="+", default=[], metavar="CHECK", help="checks that are left out")
    parser.add_argument("--limit-s", type=float, default=540.0, help="time for all of it (default: %(default)s)")
    options = parser.parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    began_s = time.monotonic()
    results = run_all(options.folder, options.only, options.limit_s, options.without)
    took_s = time.monotonic() - began_s
    head = (
        f"{time.strftime('%Y-%m-%d')}, {platform.machine()}, Python {platform.python_version()}, "
        f"{took_s:.0f} s for all of it."
    )
    path = options.folder / "results.json"
    path.write_text(json.dumps([asdict(result) for result in results], indent=1), encoding="utf-8")
    (options.folder / "page.md").write_text(page(results, head), encoding="utf-8")
    wrong = [result for result in results if result.status in ("wrong", "failed")]
    print(f"{len(results)} checks, {len(wrong)} wrong or failed, {took_s:.0f} s; {options.folder}/page.md")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
