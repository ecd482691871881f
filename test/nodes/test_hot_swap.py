"""Another model, precision or runtime while the node runs: real nodes, real parameters, a camera at 30 Hz."""

from __future__ import annotations

import json
import shutil
import statistics
import threading
import time
from collections.abc import Callable, Iterable
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")

from diagnostic_msgs.msg import DiagnosticStatus
from rcl_interfaces.srv import DescribeParameters
from support.onnx_models import constant_policy, detector_of_no_numbers
from support.processes import Process, Ros, wait_until
from support.tuner import Tuner, allowed

from perf_inference.engines import MODELS
from perf_inference.model_build.trial.trial import try_out
from perf_inference.nodes.engine.model_sizes import one_text

SWAPPED = ("model", "runtime", "precision", "device")
MB = 1e6


@pytest.fixture
def yolo(ros: Ros, start_node: Callable[..., Process], tmp_path: Path) -> tuple[Tuner, Process]:
    """yolo_node before the simulated camera at 30 Hz; its model may become one of the test's folder."""
    tuner = Tuner(ros, "yolo_node")
    start_node("sim_robot_node", "-p", "part:=camera", "-r", "camera/image_raw:=image")
    node = start_node("yolo_node", "-p", "threads:=1", "-p", "expected_frequency:=30.0",
                      *allowed(tmp_path))  # fmt: skip
    assert ros.spin_until(lambda: len(tuner.records()) > 30, 20), node.output()
    return tuner, node


@pytest.mark.timing
def test_models_and_precisions_change_without_a_frame_lost(
    yolo: tuple[Tuner, Process], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tuner, node = yolo
    _swap_again_and_again(tuner, node, tmp_path, 5)
    tuner.set(model=str(detector_of_no_numbers(tmp_path / "nan.onnx")))
    good, said = tuner.wait()
    assert not good
    assert said.startswith("failed: the trial on the last input failed: the model gave no score that is finite")
    assert tuner.get("model") == ["detector"]


@pytest.mark.long
def test_a_hundred_swaps(yolo: tuple[Tuner, Process], tmp_path: Path) -> None:
    tuner, node = yolo
    # The node keeps 2000 timings and its publisher 1000 messages of them: from then on they need no more memory.
    assert tuner.ros.spin_until(lambda: len(tuner.timings) > 1050, 200), node.output()
    _swap_again_and_again(tuner, node, tmp_path, 100, warm_up=20, most_grown=0.05)


def _swap_again_and_again(
    tuner: Tuner, node: Process, folder: Path, count: int, warm_up: int = 5, most_grown: float = 0.1
) -> None:
    other, broken = folder / "other.onnx", folder / "broken.onnx"
    shutil.copy(MODELS / "detector.onnx", other)
    broken.write_bytes(other.read_bytes().replace(b"Conv", b"Cnov"))  # whole, but nobody knows how to run it
    wishes = ({"model": str(other)}, {"precision": "int8"}, {"model": str(broken)}, {"model": "detector"},
              {"precision": "auto"})  # fmt: skip
    for wish in islice(cycle(wishes), warm_up):  # what is built and allocated once
        tuner.set(**wish)
        tuner.wait()
    rounds = []
    for _ in range(3):  # as one unit: what the machine takes away meanwhile is taken from both halves
        lost = _round(tuner, node, islice(cycle(wishes), count), count, str(broken), most_grown)
        anyway = 0 if lost <= count else _lost_beside_trials(tuner, count)
        rounds.append((lost, anyway))
        if lost <= count + 1.5 * anyway:
            break
    else:
        raise AssertionError(f"frames lost to {count} swaps, and to as many trials without a swap: {rounds}")
    assert tuner.get(*SWAPPED) == ["detector", "auto", "auto", "auto"]
    records = tuner.records()
    assert [r["seq"] for r in records] == list(range(1, len(records) + 1))
    assert {(r["engine"], r["precision"]) for r in records} >= {("detector", "fp32"), ("other", "fp32"),
                                                                ("other", "int8"), ("detector", "int8")}  # fmt: skip


def _lost_beside_trials(tuner: Tuner, count: int) -> int:
    """Return how many frames the node loses while as many models are tried as in a round, and none is swapped."""
    before = tuner.values()
    for _ in range(count):
        trial = threading.Thread(target=try_out, args=("detector",))
        trial.start()
        assert tuner.ros.spin_until(lambda trial=trial: not trial.is_alive(), 120)
    after = tuner.values()
    keys = ("ledger.image.replaced", "ledger.image.lost_before")
    return int(sum(after[key] - before[key] for key in keys))


def _round(
    tuner: Tuner, node: Process, wishes: Iterable[dict[str, str]], count: int, broken: str, most_grown: float
) -> int:
    """Swap as wished; return how many frames were lost to it: replaced by newer ones, or before the callback."""
    process = psutil.Process(node.pid)
    before, memory = tuner.values(), process.memory_info().rss
    failed, took_ms = 0, []
    for wish in wishes:
        began_ns = time.monotonic_ns()
        refused = tuner.set(**wish)[0]
        good, said = tuner.wait()
        took_ms.append((time.monotonic_ns() - began_ns) / 1e6)
        failed += not good
        assert good == (wish != {"model": broken}), (wish, refused, said, node.output())
        if good:
            ((key, value),) = wish.items()
            assert tuner.get(key) == [value]
    after, grown = tuner.values(), process.memory_info().rss / memory - 1
    assert node.alive, node.output()
    image = {key: after[f"ledger.image.{key}"] - before[f"ledger.image.{key}"] for key in
             ("processed", "replaced", "rejected", "failed", "lost_before")}  # fmt: skip
    swaps, residual = after["swaps"] - before["swaps"], after["ledger.image.residual"]
    print(
        f"{swaps} swaps and {failed} refused ones under 30 Hz: {image}, residual {residual}; a swap took "
        f"{statistics.median(took_ms):.0f} ms (median of {len(took_ms)}, at most {max(took_ms):.0f}); memory "
        f"{memory / MB:.0f} MB, {100 * grown:+.1f} %"
    )
    assert (swaps, failed) == (count - count // 5, count // 5)
    assert (residual, image["rejected"], image["failed"]) == (0, 0, 0)
    assert grown < most_grown
    return int(image["replaced"] + image["lost_before"])


def test_what_cannot_run_is_refused_and_the_old_engine_goes_on(
    ros: Ros, start_node: Callable[..., Process], tmp_path: Path
) -> None:
    tuner = Tuner(ros, "policy_node")
    node = start_node("policy_node", "-p", "threads:=1", *allowed(tmp_path))
    assert ros.spin_until(lambda: tuner.statuses, 20), node.output()
    running, figures = _state(tuner)
    assert running == "running policy (onnx fp32 on cpu)"
    size_mb = (MODELS / "policy.onnx").stat().st_size / 1e6
    assert figures.keys() == {"size_mb", "parameters", "score", "process_memory_mb", "gpu_memory_mb"}
    assert figures["size_mb"] == pytest.approx(size_mb, abs=1e-3)
    assert 0.5 < 4e-6 * figures["parameters"] / size_mb <= 1  # fp32
    assert (figures["score"], figures["gpu_memory_mb"]) == (None, None)
    assert figures["process_memory_mb"] > 10
    cut = tmp_path / "cut.onnx"
    cut.write_bytes((MODELS / "policy.onnx").read_bytes()[:200_000])
    assert "does not end in the file" in tuner.set(model=str(cut))[0]
    assert "neither a file nor an embedded model" in tuner.set(model=str(tmp_path / "absent.onnx"))[0]
    assert "must be one of auto, onnx" in tuner.set(runtime="tensorflow")[0]
    assert "must be one of auto, fp32" in tuner.set(precision="fp12")[0]
    assert "device" in tuner.set(device="cuda:7")[0] or not tuner.wait()[0]
    assert "set by the node alone" in tuner.set(engine_state="running well")[0]
    assert tuner.set(rate=20.0)[0]  # read-only, as before
    assert tuner.get(*SWAPPED) == ["policy", "auto", "auto", "auto"]
    # a detector is no policy: it loads, but the task refuses it
    assert tuner.set(model="detector") == [""]
    good, said = tuner.wait()
    assert not good
    assert said.startswith("failed: 'detector' is no policy")
    assert said.endswith(running)
    assert (tuner.get("model"), _state(tuner)[0]) == (["policy"], one_text(said))
    whole = tuner.get("engine_state")[0]
    assert yaml.safe_load(whole) == whole  # as `ros2 param load` reads what was dumped
    assert tuner.values()["swaps_failed"] >= 1
    assert ros.spin_until(lambda: tuner.statuses[-1].level != DiagnosticStatus.OK), tuner.statuses[-1]
    assert "swap failed" in tuner.statuses[-1].message
    assert node.alive


@pytest.mark.thorough
def test_several_parameters_set_together_are_one_swap(
    ros: Ros, start_node: Callable[..., Process], tmp_path: Path
) -> None:
    tuner = Tuner(ros, "policy_node")
    node = start_node("policy_node", "-p", "threads:=1", *allowed(tmp_path))
    assert ros.spin_until(lambda: tuner.statuses, 20), node.output()
    other = constant_policy(tmp_path / "other.onnx", (0.1, 0.2))
    assert tuner.set_together(model=str(other), runtime="onnx", device="cpu") == ""
    assert tuner.wait() == (True, "running other (onnx fp32 on cpu)")
    assert tuner.values()["swaps"] == 1
    assert tuner.get(*SWAPPED) == [str(other), "onnx", "auto", "cpu"]
    # one wrong among them: none is set
    assert tuner.set_together(device="auto", model="nowhere")
    assert tuner.get("device") == ["cpu"]
    # the newest wins where several come quickly
    for model in ("policy", str(other), "policy", str(other)):
        tuner.set(model=model)
    assert tuner.wait() == (True, "running other (onnx fp32 on cpu)")
    assert tuner.get("model") == [str(other)]
    description = ros.call(
        DescribeParameters, "/policy_node/describe_parameters", DescribeParameters.Request(names=["model", "rate"])
    )
    assert [d.read_only for d in description.descriptors] == [False, True]


@pytest.mark.thorough
@pytest.mark.parametrize("when", ["at the start", "while running"])
def test_outputs_too_far_from_fp32_are_a_warning(ros: Ros, start_node: Callable[..., Process], when: str) -> None:
    tuner = Tuner(ros, "policy_node")
    given = ["-p", "precision:=int8"] if when == "at the start" else []
    node = start_node("policy_node", "-p", "threads:=1", "-p", "max_difference:=1.0e-6", *given)
    assert ros.spin_until(lambda: tuner.statuses, 20), node.output()
    if not given:
        assert tuner.values()["difference_from_fp32"] is None
        assert tuner.set(precision="int8") == [""]
        assert tuner.wait() == (True, "running policy (onnx int8 on cpu)")
    said = "outputs at int8 differ from fp32 by "
    assert ros.spin_until(lambda: said in tuner.statuses[-1].message, 20), tuner.statuses[-1].message
    assert tuner.statuses[-1].level == DiagnosticStatus.WARN
    assert 1e-6 < tuner.values()["difference_from_fp32"] < 0.05
    assert tuner.set(precision="auto") == [""]
    assert tuner.wait()[0]
    assert ros.spin_until(lambda: said not in tuner.statuses[-1].message), tuner.statuses[-1].message


def test_a_node_that_is_stopped_in_a_swap_ends_at_once_and_leaves_nothing_behind(
    ros: Ros, start_node: Callable[..., Process], tmp_path: Path
) -> None:
    tuner = Tuner(ros, "policy_node")
    (temporary := tmp_path / "temporary").mkdir()  # others make trials at the same time
    env = {"PERF_INFERENCE_CACHE": str(tmp_path / "cache"), "TMPDIR": str(temporary)}
    node = start_node("policy_node", "-p", "threads:=1", env=env)
    assert ros.spin_until(lambda: tuner.statuses, 20), node.output()
    assert tuner.set(precision="int8") == [""]  # to be made first: the cache is empty
    assert wait_until(lambda: _trials(tmp_path)), node.output()
    assert node.stop() == 0, node.output()
    assert wait_until(lambda: not _trials(tmp_path), 2)
    assert not list(temporary.glob("perf_inference_trial_*"))


def _state(tuner: Tuner) -> tuple[str, dict[str, Any]]:
    """Return the sentence that `engine_state` begins with, and the figures that it ends with."""
    words, brace, figures = tuner.get("engine_state")[0].rpartition(" {")
    return words, json.loads(brace + figures)


def _trials(folder: Path) -> list[psutil.Process]:
    """Return the trials of nodes whose cache lies in this folder."""
    found = []
    for process in psutil.process_iter(["cmdline", "environ"]):
        cache = (process.info["environ"] or {}).get("PERF_INFERENCE_CACHE", "")
        if cache.startswith(str(folder)) and "perf_inference.model_build.trial.child" in (
            process.info["cmdline"] or ()
        ):
            found.append(process)
    return found
