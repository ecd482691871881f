"""A command whose output nobody reads any more, as before `| head`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TIMING = b'{"node":"a","seq":%d,"received_ns":%d}\n'


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["recover", "RUN"], ["doctor", "--json", "--only", "cores"]])
def test_it_says_so_in_one_line_and_does_not_succeed(tmp_path: Path, arguments: list[str]) -> None:
    lines = b"".join(TIMING % (seq, seq) for seq in (1, 2, 5))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "performance_timings_1.jsonl").write_bytes(lines)
    given = [str(tmp_path / "run") if word == "RUN" else word for word in arguments]
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "perf_inference.cli", *given],
            stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60,
        )  # fmt: skip
    finally:
        os.close(writer)
    assert done.returncode == 141, done.stderr
    assert done.stderr.splitlines()[-1] == "perf-inference: stopped: nobody reads what it prints any more"
    assert "Traceback" not in done.stderr
