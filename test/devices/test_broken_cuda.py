"""An error that breaks CUDA for good: it is found out, nothing is freed after it, and the process ends in order."""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import fake_cuda

from perf_inference.bringup.supervisor import Supervisor
from perf_inference.devices import broken, cuda_driver
from perf_inference.devices.cuda_driver import STICKY, CudaDriver
from perf_inference.errors import BrokenDeviceError, ConfigError, EngineError


class Held:
    """What an engine has on the device."""


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The fake driver, and a process whose CUDA nothing has broken yet."""
    monkeypatch.setattr(broken, "_broken", {})
    monkeypatch.setattr(broken, "_kept", [])
    with fake_cuda.in_force(fake_cuda.compiled(tmp_path), monkeypatch) as library:
        yield library


def in_use(index: int) -> CudaDriver:
    driver = cuda_driver.load_driver()
    assert driver is not None
    with driver.selected(index):
        return driver


SAID = r"an illegal memory access was encountered \(CUDA error 700\); CUDA is broken in this process .* restart it$"


def test_a_broken_context_is_found_out(fake: Any) -> None:
    fake.fakeBreak(1)
    assert not broken.is_broken(1), "there is no context that could be broken"
    assert fake.fakeContext(1) == 0, "to ask makes none"
    in_use(1)
    assert broken.is_broken(1)
    assert not broken.is_broken(0)
    with pytest.raises(BrokenDeviceError, match=SAID):
        broken.check(1)
    broken.check(0)


def test_a_failure_asks_for_a_restart_only_where_cuda_is_broken(fake: Any) -> None:
    in_use(0)
    assert type(broken.failure(0, "PyTorch failed")) is EngineError
    fake.fakeBreak(1)
    failure = broken.failure(0, "PyTorch failed")
    assert isinstance(failure, BrokenDeviceError)
    assert str(failure).startswith("PyTorch failed; cuMemGetInfo_v2: an illegal memory access")
    fake.fakeBreak(0)
    assert isinstance(broken.failure(0, "and again"), BrokenDeviceError), "what is broken stays so"


@pytest.mark.slow
def test_what_an_engine_holds_is_freed_unless_cuda_is_broken(fake: Any) -> None:
    in_use(0)
    for breaks in (False, True):
        fake.fakeBreak(int(breaks))
        held = Held()
        alive = weakref.ref(held)
        assert broken.keep_if_broken(0, held) is breaks
        del held
        gc.collect()
        assert (alive() is not None) is breaks


def test_without_a_driver_nothing_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_driver, "LIBRARY", "/nowhere/libcuda.so.1")
    cuda_driver.load_driver.cache_clear()
    assert not broken.is_broken(0)
    cuda_driver.load_driver.cache_clear()


def test_the_errors_that_stay_are_those_of_the_real_header() -> None:
    headers = sorted(Path("/usr/local").glob("cuda*/include/driver_types.h"))
    if not headers:
        pytest.skip("no CUDA toolkit here")
    import re

    text = headers[-1].read_text(encoding="utf-8", errors="replace")
    told = re.findall(r"/\*\*((?:[^*]|\*(?!/))*)\*/\s*cudaError\w+\s*=\s*(\d+)", text)
    assert {
        int(code) for said, code in told if "terminated and relaunched" in " ".join(said.replace("*", "").split())
    } == STICKY


@pytest.mark.torch
def test_pytorchs_buffers_outlive_an_engine_whose_cuda_broke(fake: Any) -> None:
    # A page-locked tensor that is freed after the error ends the process: terminate called after throwing ...
    torch = pytest.importorskip("torch")
    from perf_inference.devices.device import CpuDevice
    from perf_inference.engines.pytorch.call import StagedCall

    def twice(x: Any) -> Any:
        if bool((x < 0).any()):
            fake.fakeBreak(1)
            raise RuntimeError("CUDA error: device-side assert triggered")
        return (x * 2,)

    call, other = (StagedCall(twice, CpuDevice(), cuda_graph=False) for _ in range(2))
    buffers = []
    in_use(0)
    for each in (call, other):
        each._index = 0
        assert each.run([np.ones(3, np.float32)])[0].tolist() == [2, 2, 2]
        (plan,) = each._plans.values()
        buffers += [weakref.ref(tensor) for tensor in (*plan.staged, *plan.inputs, *plan.fetched)]
    del plan, each
    with pytest.raises(RuntimeError, match="device-side assert"):
        call.run([np.full(3, -1, np.float32)])
    with pytest.raises(BrokenDeviceError, match=SAID):
        call.run([np.ones(3, np.float32)])
    with pytest.raises(BrokenDeviceError, match=SAID):
        call.run([np.ones(5, np.float32)])
    call.close()
    other.close()
    del call, other
    gc.collect()
    assert torch.tensor([buffer() is not None for buffer in buffers]).all()


@pytest.mark.torch
def test_an_engine_in_a_process_whose_cuda_broke_is_no_configuration_error(
    fake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    from perf_inference.engines.pytorch import engine

    in_use(0)
    with pytest.raises(ConfigError, match="'own' does not run on cuda:0"), engine.refusals("own", "fp32", "cuda:0"):
        raise RuntimeError("no kernel for it")
    fake.fakeBreak(1)
    with pytest.raises(BrokenDeviceError, match=SAID), engine.refusals("own", "fp32", "cuda:0"):
        raise RuntimeError("CUDA error")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(BrokenDeviceError, match=SAID):
        engine.find_device("auto")


NODE = """
import numpy as np
from perf_inference import model_build
from perf_inference.errors import BrokenDeviceError
from perf_inference.nodes.caption_node import CaptionNode
from perf_inference.nodes.ros import runner

class Breaks:
    def __init__(self, engine):
        self.engine, self.left = engine, 3  # two runs warm it up

    def __getattr__(self, name):
        return getattr(self.engine, name)

    def infer(self, inputs):
        self.left -= 1
        if self.left < 0:
            raise BrokenDeviceError("cudaStreamSynchronize: unspecified launch failure; CUDA is broken: restart it")
        return self.engine.infer(inputs)

load = model_build.load
model_build.load = lambda *arguments: Breaks(load(*arguments))
runner.main(CaptionNode)
"""


def test_a_node_whose_cuda_broke_says_so_once_and_is_started_again(ros: Any, tmp_path: Path) -> None:
    pytest.importorskip("rclpy")
    from rclpy.qos import qos_profile_sensor_data
    from sensor_msgs.msg import Image
    from std_msgs.msg import Header
    from support.processes import inherited

    from perf_inference.nodes.images.converter import from_bgr

    script = tmp_path / "breaks.py"
    script.write_text(NODE)
    publisher = ros.node.create_publisher(Image, "image", qos_profile_sensor_data)
    message = from_bgr(np.zeros((48, 64, 3), np.uint8), Header())
    ros.node.create_timer(0.1, lambda: publisher.publish(message))
    said, log = list[str](), tmp_path / "log"
    command = f"exec {sys.executable} {script} --ros-args -p rate:=10.0 >>{log} 2>&1"
    supervisor = Supervisor({"breaks": ["sh", "-c", command]}, inherited(), said.append)
    supervisor.start()
    try:
        assert ros.spin_until(lambda: supervisor.poll() or supervisor.children[0].launches == 2, 60), log.read_text()
    finally:
        supervisor.stop()
    assert said[0] == "breaks ended with status 1; restart 1 of 3 in 0.5 s"
    lines = log.read_text().splitlines()
    fatal = [line for line in lines if "this process ends, to be started again" in line]
    assert len(fatal) == 1, lines
    assert "[FATAL]" in fatal[0]
    assert "CUDA is broken: restart it" in fatal[0]
    assert not [line for line in lines if "Traceback" in line]
