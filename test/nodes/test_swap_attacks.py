"""Parameters as somebody on the network sets them: no host of his is asked, no file read, no code run."""

from __future__ import annotations

import hashlib
import os
import pickle
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="needs a ROS 2 or its wheels")

from rcl_interfaces.srv import DescribeParameters
from support.cases import sampled
from support.onnx_models import constant_policy
from support.processes import Process, Ros
from support.tuner import Tuner, allowed

from perf_inference.engines import MODELS, Options
from perf_inference.errors import PerfInferenceError
from perf_inference.model_build.trial.trial import try_out

Start = Callable[..., Process]
RUNNING = "running policy (onnx fp32 on cpu)"


class Listener:
    """A host of somebody's choice; counts who calls."""

    def __init__(self) -> None:
        self.calls = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._answer, daemon=True).start()

    def _answer(self) -> None:
        while True:
            try:
                self._socket.accept()[0].close()
            except OSError:
                return
            self.calls += 1

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def listener() -> Iterator[Listener]:
    made = Listener()
    yield made
    made.close()


def start(ros: Ros, start_node: Start, *arguments: str) -> tuple[Tuner, Process]:
    """Start a policy_node that runs the embedded policy."""
    tuner = Tuner(ros, "policy_node")
    node = start_node("policy_node", "-p", "threads:=1", *arguments)
    assert ros.spin_until(lambda: tuner.statuses, 20), node.output()
    return tuner, node


class Evil:
    """Runs code where it is unpickled."""

    def __init__(self, ran: Path) -> None:
        self._command = f"touch {ran}"

    def __reduce__(self) -> Any:
        return os.system, (self._command,)


def test_what_is_said_at_the_start_cannot_be_set(ros: Ros, start_node: Start, tmp_path: Path) -> None:
    tuner, node = start(ros, start_node)
    names = ("allow_pickle", "architecture", "remote.certificates", "allowed_models")
    before = tuner.get(*names[:3])  # an empty list is not set, in the words of ROS
    evil = {"allow_pickle": True, "architecture": "this", "remote.certificates": "/dev/zero", "allowed_models": ["/"]}
    for name, reason in zip(evil, tuner.set(**evil), strict=True):
        assert f"read-only parameter: {name}" in reason
    assert tuner.set_together(model="detector", **evil)
    assert tuner.get(*names[:3]) == before == [False, "", ""]
    described = ros.call(
        DescribeParameters, "/policy_node/describe_parameters", DescribeParameters.Request(names=names)
    )
    assert all(descriptor.read_only for descriptor in described.descriptors)
    assert tuner.wait() == (True, RUNNING)
    assert node.alive


@pytest.mark.parametrize("pickled_at_the_start", [False, pytest.param(True, marks=pytest.mark.thorough)])
def test_a_pickle_is_not_read_for_a_peer(
    ros: Ros, start_node: Start, tmp_path: Path, pickled_at_the_start: bool
) -> None:
    ran, evil = tmp_path / "ran", tmp_path / "evil.pt"
    evil.write_bytes(pickle.dumps(Evil(ran), protocol=2))
    listed = f"sha256:{hashlib.sha256(evil.read_bytes()).hexdigest()}"
    trusted = ["-p", "allow_pickle:=true"] if pickled_at_the_start else []
    tuner, node = start(ros, start_node, *allowed(tmp_path), *trusted)
    (refused,) = tuner.set(model=str(evil))
    assert "a .pt file can hold code" in refused
    assert "sha256:HEX" in refused
    assert node.stop() == 0
    tuner, node = start(ros, start_node, *allowed(tmp_path, listed), *trusted)  # allow_pickle is of another model
    tuner.set(model=str(evil), runtime="torch")
    good, said = tuner.wait()
    assert not good
    assert said.endswith(RUNNING)
    assert tuner.get("model") == ["policy"]
    assert not ran.exists()
    assert node.alive


@pytest.mark.torch
def test_a_pickle_that_was_read_at_the_start_is_not_read_again_for_a_peer(
    ros: Ros, start_node: Start, tmp_path: Path
) -> None:
    torch = pytest.importorskip("torch")
    ran, model = tmp_path / "ran", tmp_path / "a.pt"
    content = torch.load(MODELS / "policy.pt", weights_only=True)
    torch.save({**content, "extra": Evil(ran)}, model)
    tuner = Tuner(ros, "policy_node")
    node = start_node("policy_node", "-p", f"model:={model}", "-p", "allow_pickle:=true", "-p", "threads:=1")
    assert ros.spin_until(lambda: tuner.statuses, 120), node.output()
    assert ran.exists()  # as the user said
    ran.unlink()
    for wish in ({"precision": "fp16"}, {"runtime": "torch"}, {"device": "cpu"}, {"model": f"{tmp_path}/./a.pt"}):
        assert "can hold code" in tuner.set(**wish)[0]
    assert tuner.set(model="policy") == [""]
    assert tuner.wait()[0]
    assert "can hold code" in tuner.set(model=str(model))[0]
    assert tuner.wait() == (True, RUNNING)
    assert not ran.exists()


ADDRESSES = (
    "http://127.0.0.1:{port}/a", "grpc://127.0.0.1:{port}/a", "https://127.0.0.1:{port}/a", "grpcs://127.0.0.1:{port}/a",
    "http://localhost:{port}/a", "http://[::ffff:127.0.0.1]:{port}/a", "http://server:8080@127.0.0.1:{port}/a",
    "http://127.1:{port}/a", "http://0:{port}/a", "http://2130706433:{port}/a",
)  # fmt: skip


@pytest.mark.parametrize(
    "listed", sampled([[], ["http://127.0.0.1:1", "grpc://127.0.0.1:1/a"]]), ids=["no list", "another port"]
)
def test_no_host_is_asked_that_is_not_listed(
    ros: Ros, start_node: Start, listener: Listener, listed: list[str]
) -> None:
    tuner, node = start(ros, start_node, *(allowed(*listed) if listed else []))
    for address in ADDRESSES:
        model = address.format(port=listener.port)
        assert tuner.set(model=model)[0], model
        assert tuner.set_together(model=model, runtime="remote"), model
    assert "`allowed_models: [" in tuner.set(model=f"http://127.0.0.1:{listener.port}/a")[0]
    assert tuner.wait() == (True, RUNNING)
    assert tuner.get("model", "runtime") == ["policy", "auto"]
    assert listener.calls == 0
    assert node.alive


@pytest.mark.thorough
def test_texts_that_are_no_models_are_refused_and_end_no_node(ros: Ros, start_node: Start, tmp_path: Path) -> None:
    constant_policy(tmp_path / "a.onnx", (0.1, 0.2))
    os.mkfifo(tmp_path / "pipe.onnx")
    (tmp_path / "zero.onnx").symlink_to("/dev/zero")
    (tmp_path / "out.onnx").symlink_to(tmp_path / "elsewhere" / "b.onnx")
    (tmp_path / "elsewhere").mkdir()
    constant_policy(tmp_path / "elsewhere" / "b.onnx", (0.1, 0.2))
    tuner, node = start(ros, start_node, *allowed(tmp_path))
    for model in ("/dev/zero", "/dev/stdin", "/proc/self/environ", "/proc/self/mem", str(tmp_path / "pipe.onnx"),
                  str(tmp_path / "zero.onnx"), str(tmp_path / "out.onnx"), str(tmp_path / "elsewhere" / "b.onnx"),
                  f"{tmp_path}/../{tmp_path.name}/elsewhere/b.onnx", str(tmp_path), "..", "",
                  "~nobody_of_this_name/a.onnx", "/" + "a" * 300 + ".onnx", "a" * 100_000, "/a" * 3000,
                  "\x1b[2J\x1b]0;you\x07", "a\nb",
                  "file:///etc/passwd"):  # fmt: skip
        (refused,) = tuner.set(model=model)
        assert refused, model
        assert refused.isprintable()
        assert len(refused) < 1500
    for device in ("cuda:" + "9" * 5000, "\x1b[2J", "x" * 100_000, "cpu\n", ""):
        assert tuner.set(device=device)[0]
    assert tuner.wait() == (True, RUNNING)
    assert tuner.set(model=str(tmp_path / "a.onnx")) == [""]
    assert tuner.wait() == (True, "running a (onnx fp32 on cpu)")
    assert node.alive


def test_a_file_that_others_can_write_is_loaded_only_with_the_content_that_is_listed(
    ros: Ros, start_node: Start, tmp_path: Path
) -> None:
    model = constant_policy(tmp_path / "a.onnx", (0.1, 0.2))
    model.chmod(0o666)
    tuner, node = start(ros, start_node, *allowed(f"sha256:{hashlib.sha256(model.read_bytes()).hexdigest()}"))
    assert tuner.set(model=str(model)) == [""]
    assert tuner.wait() == (True, "running a (onnx fp32 on cpu)")
    assert tuner.set(model="policy") == [""]
    assert tuner.wait()[0]
    constant_policy(model, (0.3, 0.4))
    tuner.set(model=str(model))
    good, said = tuner.wait()
    assert not good
    assert "may not be loaded at run time" in said
    assert said.endswith(RUNNING)
    assert node.alive


class _Handler(BaseHTTPRequestHandler):
    """Sends everybody on to the server's `target`, with words that a terminal obeys."""

    def do_GET(self) -> None:
        body = b'{"error": "' + b"\\u001b[2J\\u001b]0;owned\\u0007\\r\\nfine: all is well " * 500 + b'"}'
        self.send_response(302)
        self.send_header("Location", self.server.target)  # type: ignore[attr-defined]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.mark.skipif(find_spec("tritonclient") is None, reason="needs tritonclient")
def test_no_redirect_is_followed_and_a_servers_words_are_short_and_printable(
    ros: Ros, start_node: Start, listener: Listener
) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        server.target = f"http://127.0.0.1:{listener.port}/v2/models/a"  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        tuner, node = start(ros, start_node, *allowed(url), "-p", "remote.deadline_ms:=100.0")
        assert tuner.set(model=f"{url}/a") == [""]
        good, said = tuner.wait()
        server.shutdown()
    assert not good
    assert "HTTP 302" in said or "\\x1b[2J" in said
    assert said.isprintable()
    assert len(said) < 1000
    assert tuner.values()["engine_state"] == said
    assert listener.calls == 0
    assert node.alive


@pytest.mark.thorough
@pytest.mark.slow
def test_a_trial_finds_no_networks_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran, trap = tmp_path / "ran", tmp_path / "trap"
    (trap / "evil-1.dist-info").mkdir(parents=True)
    (trap / "evil-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: evil\nVersion: 1\n")
    (trap / "evil-1.dist-info" / "entry_points.txt").write_text("[perf_inference.architectures]\nevil = evil:build\n")
    for name in ("evil", "onnxruntime", "numpy"):
        (trap / f"{name}.py").write_text(f"from pathlib import Path; Path(r'{ran}').touch()\n")
    shutil.copy(MODELS / "policy.onnx", trap / "a.onnx")
    monkeypatch.chdir(trap)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(("", *filter(None, (os.environ.get("PYTHONPATH"),)))))
    try_out("a.onnx", runs=1)
    if find_spec("torch") is not None:
        shutil.copy(MODELS / "detector.safetensors", trap / "b.safetensors")
        with pytest.raises(PerfInferenceError, match="'evil' is not registered"):
            try_out("b.safetensors", options=Options(architecture="evil"), runs=1)
    assert not ran.exists()
