"""Each file in examples/ does what it says, found by its entry point as an installed package's is."""

from __future__ import annotations

import configparser
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.cases import sampled
from support.paths import ROOT, search_path
from support.processes import Process, Ros

from perf_inference.testing.engine_contract import check_engine

EXAMPLES = ROOT / "examples"


@pytest.fixture
def installed(tmp_path: Path) -> dict[str, str]:
    """The environment of a process that finds the examples as `pip install` would make them known."""
    text = (EXAMPLES / "pyproject.toml").read_text()
    made = configparser.ConfigParser()
    for group, body in re.findall(r'\[project\.entry-points\."(.+)"\]\n((?:\w+ = ".+"\n)+)', text):
        made[group] = dict(re.findall(r'(\w+) = "(.+)"', body))
    assert len(made.sections()) == 3
    folder = tmp_path / "perf_inference_examples-1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: perf-inference-examples\nVersion: 1\n")
    with open(folder / "entry_points.txt", "w") as file:
        made.write(file)
    return {**os.environ, "PYTHONPATH": search_path(EXAMPLES, tmp_path)}


def run(environment: dict[str, str], *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command], env=environment, text=True, capture_output=True, check=False, timeout=120
    )


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_each_is_under_sixty_lines_of_code(path: Path) -> None:
    assert sum(1 for line in path.read_text().splitlines() if line.strip()) < 60


@pytest.mark.slow
def test_own_engine(installed: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tmp_path / "model.npz"
    np.savez(model, weight=np.eye(3) * 2, bias=np.ones(3))
    monkeypatch.syspath_prepend(str(EXAMPLES))
    from own_engine import open_engine

    from perf_inference.engines.engine import Options

    check_engine(lambda: open_engine(str(model), Options()))
    code = (
        "import sys, numpy as np\nfrom perf_inference.engines import load\n"
        "print(load(sys.argv[1]).infer({'x': np.ones((1, 3), np.float32)})['y'])"
    )
    assert run(installed, "-c", code, str(model)).stdout == "[[3. 3. 3.]]\n"
    (tmp_path / "bad.npz").write_bytes(b"no archive")
    assert "must be an .npz file" in run(installed, "-c", code, str(tmp_path / "bad.npz")).stderr


@pytest.mark.torch
def test_own_architecture(installed: dict[str, str], tmp_path: Path) -> None:
    code = (
        "import sys, numpy as np, torch\nfrom own_architecture import TwoLayers, save\n"
        "from perf_inference.engines import load\n"
        "network = TwoLayers(3, 8)\nsave(network, sys.argv[1])\n"
        "x = np.array([[1, 2, 3]], np.float32)\n"
        "found = load(sys.argv[1]).infer({'joints': x})['action']\n"
        "print(np.allclose(found, network(torch.from_numpy(x)).detach().numpy(), atol=1e-6))"
    )
    ended = run(installed, "-c", code, str(tmp_path / "policy.safetensors"))
    assert ended.stdout == "True\n", ended.stderr


def test_own_task(
    ros: Ros, start_node: Callable[..., Process], tmp_path: Path, installed: dict[str, str], domain: int
) -> None:
    from sensor_msgs.msg import Image
    from std_msgs.msg import Float32
    from support.onnx_models import depth_of_brightness

    model = depth_of_brightness(tmp_path / "depth.onnx", 48, 64)
    command = [sys.executable, str(EXAMPLES / "own_task.py"), "--ros-args", "-p", f"model:={model}"]
    node = Process(command, {**installed, "ROS_DOMAIN_ID": str(domain)})
    try:
        heard = ros.collect(Float32, "nearest")
        camera = ros.node.create_publisher(Image, "image", 1)
        pixels = np.full((48, 64, 3), 200, np.uint8)
        pixels[10, 10] = 51  # the darkest is the nearest
        image = Image(height=48, width=64, step=192, encoding="bgr8", data=pixels.tobytes())

        def seen() -> bool:
            camera.publish(image)
            return bool(heard)

        assert ros.spin_until(seen, 60), node.output()
        assert heard[0].data == pytest.approx(0.2, abs=1e-6)
    finally:
        assert node.stop() == 0, node.output()


@pytest.mark.slow
def test_own_doctor_check(installed: dict[str, str], tmp_path: Path) -> None:
    def doctor(port: Path) -> subprocess.CompletedProcess[str]:
        command = ("-m", "perf_inference.cli", "doctor", "--only", "serial_port")
        return run({**installed, "ROBOT_PORT": str(port)}, *command)

    port = tmp_path / "tty"
    absent = doctor(port)
    assert absent.returncode == 0
    assert "is not there" in absent.stdout
    port.touch()
    assert f"{port} can be read and written" in " ".join(doctor(port).stdout.split())
    port.chmod(0)
    if os.geteuid():
        assert doctor(port).returncode == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "says"),
    sampled(
        [
            ("1 / 0", "division by zero"),
            ("raise SystemExit(3)", "3"),
            ("return 7", "must return Findings, got int"),
            ("return ['x']", "must return Findings"),
            ("return Finding('x', 'bad', '')", "a level must be"),
        ],
        keep=2,
    ),
)
def test_a_broken_check_of_another_package_is_a_finding(
    installed: dict[str, str], tmp_path: Path, body: str, says: str
) -> None:
    (tmp_path / "own_doctor_check.py").write_text(
        f"from perf_inference.doctor.finding import Finding\ndef serial_port():\n    {body}\n"
    )
    environment = {**installed, "PYTHONPATH": f"{tmp_path}{os.pathsep}{installed['PYTHONPATH']}"}
    ended = run(environment, "-m", "perf_inference.cli", "doctor", "--only", "serial_port")
    assert ended.returncode == 1, ended.stderr
    assert says in " ".join(ended.stdout.split())
