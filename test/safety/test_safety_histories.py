"""The invariant of docs/safety.md over random histories, and that the histories find a gate with an error in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest
from support.gate_histories import FAULTS, Outcome, play
from support.paths import TESTS

import perf_inference

HISTORIES = 100_000
IN_CORE = 250
SEED = int(os.environ.get("PERF_INFERENCE_SEED", "0"))
A_BATCH = 100


class Mutation(NamedTuple):
    """A deliberate error in the gate."""

    name: str
    file: str
    line: str
    instead: str


MUTATIONS = (
    Mutation("the sample's age is left out", "joint.py",
             "for piece in side.pieces(sample.taken.accepted_ns, now_ns):\n            way.go(*piece)", "pass"),
    Mutation("older, faster commands are left out", "sent.py", "if velocity > pieces[-1][1]:", "if False:"),
    Mutation("freshness by arrival", "inputs.py",
             "        except InputError as error:\n            self._samples.refuse(JOINT_STATES, str(error))",
             "        except InputError as error:\n            self._samples.arrived(JOINT_STATES, now)"),
    Mutation("the stamp's age is left out", "samples.py", "Taken(now.steady_ns - age_ns,", "Taken(now.steady_ns,"),
    Mutation("the latency is left out", "sent.py", "self._latency_ns = latency_ns", "self._latency_ns = 0"),
    Mutation("braking is left out", "way.py", "self._braking = velocity_rad_s, acceleration_rad_s2",
             "self._braking = velocity_rad_s, math.inf"),
    Mutation("the watch is taken to be on time", "commands/way_to_send.py",
             "LOOK_LATE_NS = 100_000_000", "LOOK_LATE_NS = 0"),
    Mutation("a command stays in force while samples come", "gate.py",
             'return "" if now.steady_ns < self._until_ns else', 'return "" if True else'),
    Mutation("disabled, but what is in the engine leaves", "gate.py",
             "if self._stopping or not self._permission.enabled:\n                raise",
             "if False:\n                raise"),
    Mutation("the lower limit is left out", "joint.py", "else here - self.bounds.lower_rad", "else 1e9"),
)  # fmt: skip


def summary(outcomes: list[Outcome], began_s: float) -> str:
    """Return what was played, in one line."""
    count = len(outcomes)
    return (
        f"{count} histories, seeds {outcomes[0].seed} to {outcomes[-1].seed}, {len(FAULTS)} kinds of faults: the arm "
        f"moved in {sum(o.moved for o in outcomes) / count:.1%}, a fault came while it moved in "
        f"{sum(o.faults_in_motion > 0 for o in outcomes) / count:.1%}; {sum(o.sends for o in outcomes)} sends, "
        f"{sum(len(o.problems) > 0 for o in outcomes)} histories with a send that breaks the invariant; "
        f"{time.monotonic() - began_s:.0f} s"
    )


@pytest.mark.slow
def test_no_joint_gets_beyond_its_limits_whatever_arrives_or_stops_arriving() -> None:
    began_s = time.monotonic()
    outcomes = play(range(SEED, SEED + IN_CORE))
    print(summary(outcomes, began_s))
    assert not [problem for outcome in outcomes for problem in outcome.problems]
    assert sum(outcome.moved for outcome in outcomes) > 0.8 * IN_CORE
    assert sum(outcome.faults_in_motion > 0 for outcome in outcomes) > 0.7 * IN_CORE


@pytest.mark.long
def test_safety_in_a_hundred_thousand_histories() -> None:
    count, began_s = int(os.environ.get("PERF_INFERENCE_HISTORIES", HISTORIES)), time.monotonic()
    batches = [range(seed, min(seed + A_BATCH, SEED + count)) for seed in range(SEED, SEED + count, A_BATCH)]
    outcomes: list[Outcome] = []
    with ProcessPoolExecutor() as pool:
        for batch in pool.map(play, batches):
            outcomes += batch
            for problem in (problem for outcome in batch for problem in outcome.problems):
                print(problem, flush=True)
            if len(outcomes) % 10_000 == 0:
                print(summary(outcomes, began_s), flush=True)
    problems = [problem for outcome in outcomes for problem in outcome.problems]
    print(summary(outcomes, began_s), *problems[:20], sep="\n")
    assert not problems


def test_every_line_is_where_it_is_looked_for() -> None:
    safety = Path(perf_inference.__file__).parent / "safety"
    assert not [m.name for m in MUTATIONS if m.line not in (safety / m.file).read_text()]


@pytest.mark.long
@pytest.mark.parametrize("mutation", MUTATIONS, ids=[m.name.replace(" ", "-") for m in MUTATIONS])
def test_safety_histories_find_a_gate_with(mutation: Mutation, tmp_path: Path) -> None:
    package = Path(perf_inference.__file__).parent
    copy = tmp_path / "perf_inference"
    shutil.copytree(package / "safety", copy / "safety")
    for file in ("__init__.py", "errors.py", "_version.py"):
        if (package / file).is_file():
            shutil.copy(package / file, copy / file)
    path = copy / "safety" / mutation.file
    text = path.read_text()
    assert mutation.line in text, f"{mutation.file} no longer has {mutation.line!r}"
    text = text.replace(mutation.line, mutation.instead)
    path.write_text(text)
    if "arrived(" in mutation.instead:
        samples = copy / "safety" / "samples.py"
        samples.write_text(samples.read_text().replace("    def refuse(", ARRIVED + "    def refuse(", 1))
    for seed in range(SEED, SEED + 4000, A_BATCH):
        found = subprocess.run(
            [sys.executable, "-P", "-c", PLAY, str(seed), str(seed + A_BATCH)], text=True, check=True,
            env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{TESTS}"}, stdout=subprocess.PIPE,
        ).stdout.strip()  # fmt: skip
        if found:
            print(f"{mutation.name}: {found}")
            return
    pytest.fail(f"nothing was found in 4000 histories of a gate in which {mutation.name}")


PLAY = """
import sys
from support.gate_histories import play
problems = [p for o in play(range(int(sys.argv[1]), int(sys.argv[2]))) for p in o.problems]
print(problems[0] if problems else "")
"""
ARRIVED = """    def arrived(self, name, now):
        if name in self._newest:
            self._newest[name] = Taken(now.steady_ns, now.steady_ns, None)

"""
