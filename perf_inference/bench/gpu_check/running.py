"""Running the sections as processes, and reading what they wrote."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from perf_inference.bench.gpu_check.section import ROOM, SECTIONS, Result, Section, Table


def run_all(folder: Path, only: Sequence[str], limit_s: float, without: Sequence[str] = ()) -> list[Result]:
    """Run the sections one after the other; print and return their results.

    Args:
        folder: where each section's own output is kept.
        only: the sections to run; empty: all.
        limit_s: of everything; what does not fit into it is said to have been left out.
        without: checks, by their names, that are left out in every section.
    """
    end_s = time.monotonic() + limit_s
    results: list[Result] = []
    for section in SECTIONS:
        if only and section.name not in only:
            continue
        print(f"== {section.title}", flush=True)
        for result in _run_section(section, folder, end_s, without):
            print(f"{result.status:8}{result.check} ({result.took_s:.1f} s): {result.said}", flush=True)
            results.append(result)
    return results


def _run_section(section: Section, folder: Path, end_s: float, without: Sequence[str]) -> Iterator[Result]:
    if not section.alone:
        yield from run_child(section, folder, end_s, without=without)
        return
    try:
        names = [name for name in section.checks() if name not in without]
    except ImportError as error:
        yield Result(section.name, "import", "skipped", str(error))
        return
    with ThreadPoolExecutor(section.at_once) as threads:
        for results in threads.map(lambda name: list(run_child(section, folder, end_s, name)), names):
            yield from results


def run_child(
    section: Section, folder: Path, end_s: float, check: str = "", without: Sequence[str] = ()
) -> Iterator[Result]:
    name = f"{section.name}.{check}" if check else section.name
    limit_s = min(section.limit_s, end_s - time.monotonic())
    if limit_s < 5:
        yield Result(section.name, check or "all", "skipped", "left out: the time for all sections is spent")
        return
    lines, output = folder / f"{name}.jsonl", folder / f"{name}.txt"
    lines.unlink(missing_ok=True)
    command = [sys.executable, "-m", f"{ROOM}.child", section.name, str(lines), *([check] if check else [])]
    command += [f"-{name}" for name in without]
    with output.open("wb") as file, tempfile.TemporaryDirectory(prefix="gpu_check_") as temporary:
        environment = {**os.environ, "TMPDIR": temporary}
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, env=environment
        )
        try:
            status: int | None = child.wait(limit_s)
        except subprocess.TimeoutExpired:
            status = None
            child.kill()
            child.wait()
    results = list(read_results(lines))
    yield from results
    if status != 0:
        how = f"was ended after {limit_s:.0f} s" if status is None else f"ended with status {status}"
        yield Result(section.name, "process", "failed", f"the process {how}; its last lines: {_last_lines(output)}")
    elif check and results and all(result.status == "ok" for result in results):
        output.unlink()


def read_results(lines: Path) -> Iterator[Result]:
    if not lines.is_file():
        return
    for line in lines.read_text(encoding="utf-8").splitlines():
        try:
            result = Result(**json.loads(line))
        except ValueError:  # the line that a crash cut short
            continue
        yield replace(result, table=Table(*result.table)) if result.table else result
    lines.unlink()


def _last_lines(output: Path, most: int = 4) -> str:
    lines = [line.strip() for line in output.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return " | ".join(line[:200] for line in lines[-most:]) or "none"
