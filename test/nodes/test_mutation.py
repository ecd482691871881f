"""With any one increment of the accounting removed, the flood fails (`make prove PROVE=mutation`).

Each mutation takes one counting line out of a copy of the package and runs the flood against the copy.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest
from support.paths import ROOT, TESTS

pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")

import perf_inference

FLOOD = "test_flood.py::test_every_image_of_a_flood_is_accounted_for[1]"
EVENTS = "test_flood.py::test_the_middlewares_own_events_are_counted_apart"
TIMEOUT_S = 90


class Mutation(NamedTuple):
    """One line of the accounting, and what stands there instead."""

    name: str
    file: str
    line: str
    instead: str = "pass"
    test: str = FLOOD


LEDGER, MAILBOX, GAPS = "measure/ledger.py", "measure/mailbox.py", "measure/ledger.py"
PIPELINE, INPUT = "pipeline.py", "nodes/ros/subscription.py"
OUTCOME = "self._ledger.count(outcome)"
MUTATIONS = (
    Mutation("received", MAILBOX, 'self._ledger.count("received")'),
    Mutation("replaced", MAILBOX, 'self._ledger.count("replaced")'),
    Mutation("in_work, set", MAILBOX, 'self._ledger.count("in_work")'),
    Mutation("in_work, cleared", MAILBOX, 'self._ledger.count("in_work", -1)'),
    Mutation("processed", MAILBOX, OUTCOME, f'if outcome != "processed": {OUTCOME}'),
    Mutation("rejected", MAILBOX, OUTCOME, f'if outcome != "rejected": {OUTCOME}'),
    Mutation("failed", MAILBOX, OUTCOME, f'if outcome != "failed": {OUTCOME}'),
    Mutation("processed, as a whole", PIPELINE, 'self.mailbox.done("processed")'),
    Mutation("skipped, as a whole", PIPELINE, "self.mailbox.done(outcome)"),
    Mutation("rejected taken for failed", PIPELINE, 'lane.skip("rejected", error)', 'lane.skip("failed", error)'),
    Mutation("waiting", MAILBOX, "ledger.watch(self._items)"),
    Mutation("lost: the sum", LEDGER, "self._lost = (self._lost or 0) + messages", "self._lost = self._lost or 0"),
    Mutation("lost: the gap", GAPS, "return sequence - last - 1 if", "return 0 if"),
    Mutation("lost: told to the ledger", INPUT, "self.ledger.lost(lost)"),
    Mutation("message_lost", INPUT, 'self.ledger.count("message_lost", change)', test=EVENTS),
    Mutation("published", PIPELINE, 'self.ledger.count("published")'),
    Mutation("implausible_stamps", PIPELINE, 'self.ledger.count("implausible_stamps")'),
    Mutation("seq", PIPELINE, "seq=self._number(),", "seq=1,"),
    Mutation("dropped, in the mailbox", MAILBOX, "self._replaced_since_take += 1"),
    Mutation("dropped, in the pipeline", PIPELINE, "self._dropped += dropped"),
    Mutation("age of what was replaced", MAILBOX, "age_ns = self._age_ns(self._items.popleft())",
             "age_ns = 0; self._items.popleft()"),
)  # fmt: skip


def flood(copy: Path, test: str) -> subprocess.CompletedProcess[str]:
    """Run the test against the copy of the package."""
    command = [
        sys.executable,
        "-P",
        "-m",
        "pytest",
        "-q",
        "--tb=short",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:pytest-retry",
        f"test/nodes/{test}",
    ]
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "200"}
    return subprocess.run(command, cwd=copy, env=environment, text=True, timeout=TIMEOUT_S, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # fmt: skip


def failing_assertion(output: str) -> str:
    """Return where the test failed, and on what."""
    where = re.findall(r"^test/nodes/test_flood\.py:(\d+): in (\w+)", output, re.MULTILINE)
    what = re.search(r"^E +(.+)$", output, re.MULTILINE)
    place = f"{where[-1][1]}, line {where[-1][0]}" if where else "?"
    return f"{place}: {what[1] if what else output[-200:]}"[:150]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of package and tests, whose flood passes as it is."""
    root = tmp_path_factory.mktemp("mutation")
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(perf_inference.__file__).parent, root / "perf_inference", ignore=ignore)
    shutil.copytree(TESTS, root / "test", ignore=ignore)
    shutil.copy(ROOT / "pyproject.toml", root)
    for test in (FLOOD, EVENTS):
        unmutated = flood(root, test)
        assert unmutated.returncode == 0, unmutated.stdout
    print(f"\n{'removed':<28}{'[s]':>5}  the flood fails in")
    return root


def test_every_line_and_test_is_where_it_is_looked_for() -> None:
    package, floods = Path(perf_inference.__file__).parent, (TESTS / "nodes" / "test_flood.py").read_text()
    assert not [m.name for m in MUTATIONS if (package / m.file).read_text().count(m.line) != 1]
    names = [re.split(r"::|\[", test)[1] for test in (FLOOD, EVENTS)]
    assert not [name for name in names if f"def {name}(" not in floods]


@pytest.mark.long
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_the_flood_fails_without_this_increment(copy: Path, mutation: Mutation) -> None:
    path = copy / "perf_inference" / mutation.file
    original = path.read_text()
    assert original.count(mutation.line) == 1, f"{mutation.file} must have `{mutation.line}` once"
    path.write_text(original.replace(mutation.line, mutation.instead))
    start = time.monotonic()
    try:
        result = flood(copy, mutation.test)
    finally:
        path.write_text(original)
    assert result.returncode == 1, result.stdout
    print(f"{mutation.name:<28}{time.monotonic() - start:>5.1f}  {failing_assertion(result.stdout)}")
