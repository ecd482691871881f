"""Runtime `lerobot`: the other process answers, is killed, hangs, runs out of memory, and is started again."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.cases import sampled
from support.fake_lerobot import fake_policy, fake_python
from support.processes import wait_until

from perf_inference.engines import Engine, Options, load
from perf_inference.engines.lerobot import engine as lerobot_engine
from perf_inference.errors import ConfigError, EngineError, InputError
from perf_inference.testing.engine_contract import check_engine

IMAGE = "observation.images.front"


def inputs(first: float = 0.5, second: float = -0.25) -> dict[str, np.ndarray]:
    return {"observation.state": np.array([[first, second]], np.float32), IMAGE: np.zeros((1, 8, 10, 3), np.uint8)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return fake_policy(tmp_path / "policy")


@pytest.fixture
def engine(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    monkeypatch.setattr(lerobot_engine, "_LEAST_S", 1.0)
    made = load(str(folder), options=Options(python=fake_python(tmp_path)))
    yield made
    made.close()


def answers(engine: Engine) -> bool:
    try:
        return engine.infer(inputs())["action"].shape == (1, 4, 2)
    except EngineError:
        return False


@pytest.mark.slow
def test_it_keeps_the_engines_contract(folder: Path, tmp_path: Path) -> None:
    python = fake_python(tmp_path)
    check_engine(lambda: load(str(folder), options=Options(python=python)))


def test_it_answers_and_says_its_contract(engine: Engine) -> None:
    assert engine.infer(inputs())["action"][0, 1].tolist() == [1.0, -0.5]
    assert engine.info.runtime == "lerobot"
    assert "REQUIRED" in engine.info.metadata["perf_inference.contract"]
    assert [spec.shape for spec in engine.inputs] == [(1, 2), (1, 8, 10, 3)]
    with pytest.raises(InputError, match=r"observation\.state"):
        engine.infer({IMAGE: inputs()[IMAGE]})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wish", "said"),
    sampled(
        [
            (98, "was killed, as the kernel does where memory runs out"),
            (97, "was killed, as the kernel does where memory runs out"),
            (99, "did not answer in time, and is killed"),
        ]
    ),
)
def test_a_process_that_fails_is_an_engines_failure_and_another_one_is_started(
    engine: Engine, folder: Path, wish: float, said: str
) -> None:
    first = engine.pid
    with pytest.raises(EngineError, match=said):
        engine.infer(inputs(wish))
    assert wait_until(lambda: answers(engine))
    assert engine.pid != first
    assert len((folder / "pids").read_text().split()) == 2


def test_an_error_of_lerobot_is_told_and_its_process_goes_on(engine: Engine) -> None:
    pid = engine.pid
    with pytest.raises(EngineError, match="LeRobot failed: ValueError: wrong") as error:
        engine.infer(inputs(96))
    assert "\x1b" not in str(error.value)
    assert answers(engine)
    assert engine.pid == pid


def test_what_cannot_be_started_is_said(folder: Path, tmp_path: Path) -> None:
    for python in ("", "python", str(tmp_path / "none")):
        with pytest.raises(ConfigError, match="needs the parameter python, the absolute path"):
            load(str(folder), options=Options(python=python))
    with pytest.raises(ConfigError, match="ended with status 1"):  # an interpreter without LeRobot dies at once
        load(str(folder), options=Options(python="/bin/false"))
    (folder / "refuse").touch()
    with pytest.raises(ConfigError, match="LeRobot cannot load it: ValueError: no such policy"):
        load(str(folder), options=Options(python=fake_python(tmp_path)))


def test_it_ends_with_whoever_started_it(folder: Path, tmp_path: Path) -> None:
    code = (
        "import os, sys\nfrom perf_inference.engines import Options, load\n"
        "e = load(sys.argv[1], options=Options(python=sys.argv[2]))\nprint(e.pid, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder), fake_python(tmp_path)], capture_output=True, text=True, check=False
    )
    pid = int(done.stdout)
    assert wait_until(lambda: not _runs(pid))


def test_close_ends_it(engine: Engine) -> None:
    pid = engine.pid
    assert pid is not None
    engine.close()
    assert not _runs(pid)
    with pytest.raises(EngineError, match="is closed"):
        engine.infer(inputs())


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_one_that_has_died_before_it_is_asked_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class DiesFirst(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self.wait(30)

    monkeypatch.setattr(subprocess, "Popen", DiesFirst)
    with pytest.raises(ConfigError, match="ended with status 1"):
        load(str(folder), options=Options(python="/bin/false"))
