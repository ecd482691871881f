"""The remote engine against a real MLServer, over HTTP and gRPC, through trouble of every kind."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from numpy.typing import NDArray
from support.processes import wait_until

# Not imported: MLServer's protobuf messages and tritonclient's do not fit into one process.
if not (find_spec("mlserver") and find_spec("tritonclient")):
    pytest.skip("needs mlserver and tritonclient", allow_module_level=True)

from support.inference_server import MLServer, Relay, free_port
from tritonclient.grpc import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException

from perf_inference import engines
from perf_inference.engines import Engine, Options
from perf_inference.errors import ConfigError, EngineError, InputError
from perf_inference.testing.engine_contract import CHECKS, Check, Subject
from perf_inference.testing.samples import sample

PATIENT = Options(deadline_ms=20_000)
PROTOCOLS = ("http", "grpc")
both = pytest.mark.parametrize("protocol", PROTOCOLS)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MLServer]:
    started = MLServer(tmp_path_factory.mktemp("mlserver"))
    started.start()
    yield started
    started.stop()


def odd(value: float, kind: int = 0, delay_s: float = 0.0) -> dict[str, NDArray[Any]]:
    return {"kind": np.array([kind]), "delay_s": np.float32([delay_s]), "value": np.float32([value])}


def remote(server: MLServer, protocol: str, model: str, deadline_ms: float = 20_000) -> Engine:
    return engines.load(server.url(protocol, model), options=Options(deadline_ms=deadline_ms))


@both
@pytest.mark.parametrize("model", ["policy", "detector"])
def test_a_served_model_answers_as_the_local_one(server: MLServer, protocol: str, model: str) -> None:
    with closing(remote(server, protocol, model)) as engine, closing(engines.load(model)) as local:
        assert (engine.inputs, engine.outputs) == (local.inputs, local.outputs)
        assert engine.info.metadata == local.info.metadata
        assert (engine.info.name, engine.info.runtime) == (model, "remote")
        assert (engine.info.precision, engine.info.device) == ("fp32", "127.0.0.1/cpu")
        for seed in range(3):
            inputs = sample(engine.inputs, seed)
            outputs, expected = engine.infer(inputs), local.infer(inputs)
            for name, array in expected.items():
                np.testing.assert_allclose(outputs[name], array, rtol=1e-4, atol=1e-4)
                outputs[name][...] = 0  # the caller's own


@both
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_contract(server: MLServer, protocol: str, check: Check) -> None:
    check(Subject(lambda: remote(server, protocol, "policy")))


@both
def test_nan_and_infinity_arrive_as_they_are(server: MLServer, protocol: str) -> None:
    with closing(remote(server, protocol, "policy")) as engine, closing(engines.load("policy")) as local:
        inputs = sample(engine.inputs, 1)
        inputs["force"][0, :3, 0] = (np.nan, np.inf, -np.inf)
        assert np.isnan(local.infer(inputs)["action"]).any()
        np.testing.assert_array_equal(np.isnan(engine.infer(inputs)["action"]), np.isnan(local.infer(inputs)["action"]))


@both
def test_the_servers_time_and_the_networks_are_apart(server: MLServer, protocol: str) -> None:
    with closing(remote(server, protocol, "policy")) as engine:
        inputs = sample(engine.inputs, 1)
        start_ns = time.monotonic_ns()
        engine.infer(inputs)
        taken_ns = time.monotonic_ns() - start_ns
        assert set(engine.parts_ns) == {"server", "network"}
        assert min(engine.parts_ns.values()) > 0
        assert sum(engine.parts_ns.values()) <= taken_ns
    with closing(remote(server, protocol, "odd")) as engine:
        engine.infer(odd(1.0))
        assert engine.parts_ns == {}  # this server does not tell


@both
def test_a_missed_deadline_costs_one_request(server: MLServer, protocol: str) -> None:
    with closing(remote(server, protocol, "odd", deadline_ms=1_000)) as engine:
        assert engine.infer(odd(1.0))["y"].tolist() == [[1.0, 2.0]]
        with pytest.raises(EngineError, match=r"missed the deadline of 1000 ms; given up after \d+\.\d ms"):
            engine.infer(odd(2.0, delay_s=1.2))
        assert engine.parts_ns == {}
        # the late answer to 2 comes meanwhile
        assert [engine.infer(odd(x))["y"][0, 0] for x in (3, 4)] == [3, 4]
        assert engine.infer(odd(5.0, delay_s=0.4))["y"][0, 0] == 5


@both
@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (1, r"'y' must be FP32 \[-1, 2\], got FP32 \[2\]"),
        (2, r"'y' must be FP32 \[-1, 2\], got INT64 \[1, 2\]"),
        (3, r"output 'y' is missing; got \['z'\]"),
        (4, r"must be of model 'odd', got that of 'another'"),
        (5, "refused the request: "),
        (7, "wrong answer|refused the request"),
    ],
)
def test_a_wrong_answer_is_an_error_and_no_array(server: MLServer, protocol: str, kind: int, message: str) -> None:
    with closing(remote(server, protocol, "odd")) as engine:
        with pytest.raises(EngineError, match=message):
            engine.infer(odd(1.0, kind))
        assert engine.infer(odd(2.0))["y"].tolist() == [[2.0, 4.0]]


@both
def test_a_nan_in_an_answer_is_for_the_task_to_judge(server: MLServer, protocol: str) -> None:
    with closing(remote(server, protocol, "odd")) as engine:
        np.testing.assert_array_equal(engine.infer(odd(1.0, kind=6))["y"], [[np.nan, 1.0]])


def test_json_refuses_the_infinities_that_it_would_lose(server: MLServer) -> None:
    refused = pytest.raises(InputError, match="'value' has infinities, which JSON cannot carry")
    with closing(remote(server, "http", "odd")) as engine, refused:
        engine.infer(odd(np.inf))


@both
def test_an_unknown_model_is_told_with_those_there(server: MLServer, protocol: str) -> None:
    with pytest.raises(ConfigError, match="has no model 'nothing', only detector, odd, policy"):
        remote(server, protocol, "nothing")


@both
def test_a_server_that_is_not_there_is_waited_for(server: MLServer, protocol: str) -> None:
    url = f"{protocol}://127.0.0.1:{free_port()}/policy"
    with pytest.raises(EngineError, match=r"was not ready within 1 s: .*refused"):
        engines.load(url, options=Options(deadline_ms=100))


@both
def test_a_server_that_starts_after_the_robot_is_found(server: MLServer, protocol: str) -> None:
    relay = Relay(getattr(server, protocol))
    relay.stalled = True
    opened: list[Engine] = []
    url = f"{protocol}://127.0.0.1:{relay.port}/policy"
    opening = threading.Thread(target=lambda: opened.append(engines.load(url, options=Options(deadline_ms=500))))
    opening.start()
    assert wait_until(lambda: relay.accepted)
    relay.stalled = False
    opening.join(20)
    opened[0].close()
    relay.close()


def answer(body: bytes, header: str = "", status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\n{header}Content-Length: {len(body)}\r\n\r\n".encode() + body


def binary_answer(size: int, rest: bytes, request: str = "1") -> bytes:
    """Return an answer of 8 bytes that says it has `size`, followed by the rest."""
    text = b'{"model_name":"odd","id":"%b","outputs":[{"name":"y","datatype":"FP32","shape":[1,2],"parameters":' % (
        request.encode()
    )
    text += b'{"binary_data_size":%d}}]}' % size
    return answer(text + rest, f"Inference-Header-Content-Length: {len(text)}\r\n")


GARBAGE = {
    "a page": (answer(b"<html>no</html>"), "an answer must be JSON, got '<html>"),
    "an error page": (answer(b"<html>no</html>", status="502 Bad Gateway"), r"refused .*<html>.*HTTP 502"),
    "no HTTP": (b"\x00\xff garbage\r\n\r\n", "an answer must be HTTP, got"),
    "too little": (answer(b"{" * 100)[:-50], "the answer was cut off"),
    "a list": (answer(b"[]"), r"an object of JSON was expected, got '\[\]'"),
    "no list of outputs": (answer(b'{"outputs":1}'), "tensors must be a list, got '1'"),
    "far too much": (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999\r\n\r\n", "at most 1073741824 bytes"),
    "the end of the connection": (b"", "closed the connection without an answer"),
    "less data than it says": (binary_answer(8, b"1234"), "'y' must have its 8 bytes in the answer, 4 are left"),
    "less data than its shape": (binary_answer(4, b"1234"), r"'y' must be FP32 \[-1, 2\], which is 8 bytes, got 4"),
    "another request's answer": (binary_answer(8, b"12345678", "7"), "must be to request 1, got that to '7'"),
}


@both
@pytest.mark.parametrize("what", GARBAGE)
def test_garbage_is_an_error_and_passes(server: MLServer, protocol: str, what: str) -> None:
    relay = Relay(getattr(server, protocol))
    with closing(
        engines.load(f"{protocol}://127.0.0.1:{relay.port}/odd", options=Options(deadline_ms=5_000))
    ) as engine:
        relay.answer, message = GARBAGE[what]
        over_grpc = r"must be gRPC, got something else: |cannot be reached: "
        with pytest.raises(EngineError, match=message if protocol == "http" else over_grpc):
            engine.infer(odd(1.0))
        relay.answer = None
        assert _answers(engine, 2.0)
    relay.close()


GOOD = b'{"outputs":[{"name":"y","datatype":"FP32","shape":[1,2],"data":[1,2]}]}'
FRAMINGS = {
    "by its length": answer(GOOD),
    "as the last one": answer(GOOD, "Connection: close\r\n"),
    "in chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n"
    % (GOOD[:7], len(GOOD) - 7, GOOD[7:]),
    "by the end of the connection": b"HTTP/1.0 200 OK\r\n\r\n" + GOOD,
    "as binary data": binary_answer(8, np.float32([1, 2]).tobytes()),
}


@pytest.mark.parametrize("framing", FRAMINGS)
def test_an_answer_may_be_framed_in_any_way(server: MLServer, framing: str) -> None:
    relay = Relay(server.http)
    with closing(engines.load(f"http://127.0.0.1:{relay.port}/odd", options=PATIENT)) as engine:
        relay.answer = FRAMINGS[framing]
        assert engine.infer(odd(1.0))["y"].tolist() == [[1, 2]]
    relay.close()


def test_an_answer_that_drips_has_one_deadline(server: MLServer) -> None:
    relay = Relay(server.http)
    url = f"http://127.0.0.1:{relay.port}/odd"
    with closing(engines.load(url, options=Options(deadline_ms=500))) as engine:
        relay.drips = True
        with pytest.raises(EngineError, match=r"missed the deadline of 500 ms; given up after 5\d\d\.\d ms"):
            engine.infer(odd(1.0))
    relay.close()


@both
def test_an_answer_that_breaks_off_is_an_error(server: MLServer, protocol: str) -> None:
    relay = Relay(getattr(server, protocol))
    with closing(engines.load(f"{protocol}://127.0.0.1:{relay.port}/odd", options=PATIENT)) as engine:
        relay.cut_bytes = 200
        with pytest.raises(EngineError):
            engine.infer(odd(1.0))
        relay.cut_bytes = None
        assert _answers(engine, 2.0)
    relay.close()


@both
def test_a_dead_host_does_not_cost_a_deadline_each_time(server: MLServer, protocol: str) -> None:
    relay = Relay(getattr(server, protocol))
    with closing(engines.load(f"{protocol}://127.0.0.1:{relay.port}/odd", options=Options(deadline_ms=300))) as engine:
        relay.stalled = True
        for _ in range(2):
            assert "missed the deadline" in _error_of(engine)
        assert wait_until(lambda: "times in a row (the last time: no answer" in _error_of(engine))
        relay.stalled = False
        assert _answers(engine, 2.0)
    relay.close()


@both
def test_an_idle_connection_that_the_server_closed_is_no_failure(server: MLServer, protocol: str) -> None:
    relay = Relay(getattr(server, protocol))
    with closing(engines.load(f"{protocol}://127.0.0.1:{relay.port}/odd", options=PATIENT)) as engine:
        engine.infer(odd(1.0))
        relay.hang_up()
        if protocol == "grpc":  # its channel sees the end in a thread of its own
            assert _answers(engine, 2.0)
        else:
            assert engine.infer(odd(2.0))["y"][0, 0] == 2
    relay.close()


def test_a_connection_that_ends_just_when_it_is_used_again_is_replaced(server: MLServer) -> None:
    relay = Relay(server.http)
    with closing(engines.load(f"http://127.0.0.1:{relay.port}/odd", options=PATIENT)) as engine:
        engine.infer(odd(1.0))
        assert relay.accepted == 1
        relay.dropped = 1
        assert engine.infer(odd(2.0))["y"][0, 0] == 2
        assert relay.accepted == 2
    relay.close()


def _error_of(engine: Engine) -> str:
    """Return what the engine says when it fails, as it must."""
    with pytest.raises(EngineError) as raised:
        engine.infer(odd(1.0))
    return str(raised.value)


def _answers(engine: Engine, value: float) -> bool:
    """Return whether the engine comes to answer again by itself."""

    def answered() -> bool:
        try:
            return bool(engine.infer(odd(value))["y"][0, 0] == value)
        except EngineError:
            return False

    return wait_until(answered, 20)


@both
def test_closing_ends_a_request_under_way(server: MLServer, protocol: str) -> None:
    relay = Relay(getattr(server, protocol))
    engine = engines.load(f"{protocol}://127.0.0.1:{relay.port}/odd", options=PATIENT)
    raised: list[str] = []
    asking = threading.Thread(target=lambda: raised.append(_error_of(engine)))
    relay.stalled = True
    before = relay.received_bytes
    asking.start()
    assert wait_until(lambda: relay.received_bytes > before)
    engine.close()
    asking.join(5)
    assert "cannot be reached" in raised[0]
    relay.close()


def test_any_client_of_the_protocol_is_served(server: MLServer) -> None:
    with closing(engines.load("policy")) as local:
        inputs = sample(local.inputs, 1)
        expected = local.infer(inputs)["action"]
        names = {np.dtype(np.float32): "FP32", np.dtype(np.uint8): "UINT8"}

    tensors = []
    for name, array in inputs.items():
        tensors.append(InferInput(name, list(array.shape), names[array.dtype]))
        tensors[-1].set_data_from_numpy(array)
    client = InferenceServerClient(f"127.0.0.1:{server.grpc}")
    np.testing.assert_allclose(client.infer("policy", tensors).as_numpy("action"), expected, atol=1e-4)
    with pytest.raises(InferenceServerException, match="input 'image' is missing; got"):
        client.infer("policy", tensors[:2])
    wrong = InferInput("image", [1, 2], "UINT8").set_data_from_numpy(np.zeros((1, 2), np.uint8))
    with pytest.raises(InferenceServerException, match=r"'image' must be UINT8 \[1, 96, 128, 3\], got UINT8 \[1, 2\]"):
        client.infer("policy", [*tensors[:2], wrong])
    with pytest.raises(InferenceServerException, match=r"must be run within its timeout of 0\.001 ms, but had waited"):
        client.infer("policy", tensors, timeout=1)
    client.close()

    listed = [
        {"name": name, "shape": array.shape, "datatype": names[array.dtype], "data": array.tolist()}
        for name, array in inputs.items()
    ]
    request = urllib.request.Request(
        f"http://127.0.0.1:{server.http}/v2/models/policy/infer",
        orjson.dumps({"id": "mine", "inputs": listed}),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=20) as response:
        answer = orjson.loads(response.read())
    assert answer["id"] == "mine"
    assert answer["parameters"]["server_ns"] > 0
    assert answer["outputs"][0]["datatype"] == "FP32"
    np.testing.assert_allclose(np.reshape(answer["outputs"][0]["data"], expected.shape), expected, atol=1e-4)


class Authority:
    """A certificate authority, and a certificate of localhost signed by it."""

    def __init__(self, folder: Path, host: str = "DNS:localhost,IP:127.0.0.1") -> None:
        folder.mkdir()
        self.pem = folder / "ca.pem"
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        extensions = folder / "extensions"
        extensions.write_text(f"subjectAltName={host}\n")
        key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
        for command in (
            ("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=test authority"),
            ("req", *key, "-keyout", "host.key", "-out", "host.csr", "-subj", "/CN=host"),
            ("x509", "-req", "-in", "host.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
             "-extfile", "extensions", "-out", "host.pem"),
        ):  # fmt: skip
            subprocess.run(["openssl", *command], cwd=folder, check=True, capture_output=True)
        self.context.load_cert_chain(folder / "host.pem", folder / "host.key")
        self.context.set_alpn_protocols(["h2", "http/1.1"])


@pytest.mark.skipif(not shutil.which("openssl"), reason="needs openssl to make certificates")
@both
def test_tls_verifies_the_server(server: MLServer, protocol: str, tmp_path: Path) -> None:
    ours, other = Authority(tmp_path / "ours"), Authority(tmp_path / "other")
    elsewhere = Authority(tmp_path / "elsewhere", "DNS:elsewhere")
    relay = Relay(getattr(server, protocol), ours.context)
    misnamed = Relay(getattr(server, protocol), elsewhere.context)
    plain = Relay(getattr(server, protocol))

    def opened(relay: Relay, pem: str, secure: str = "s") -> Engine:
        options = Options(deadline_ms=5_000, certificates=pem)
        return engines.load(f"{protocol}{secure}://localhost:{relay.port}/odd", options=options)

    with closing(opened(relay, str(ours.pem))) as engine:
        assert engine.infer(odd(3.0))["y"].tolist() == [[3.0, 6.0]]
        assert engine.infer(odd(4.0))["y"].tolist() == [[4.0, 8.0]]
    for wrong, pem in ((relay, other.pem), (relay, ""), (misnamed, elsewhere.pem), (plain, ours.pem)):
        with pytest.raises(ConfigError, match="is not to be trusted: "):
            opened(wrong, str(pem))
    with pytest.raises(ConfigError, match="certificates must be a PEM file"):
        opened(relay, __file__)
    for each in (relay, misnamed, plain):
        each.close()


class Load:
    """Asks again and again in a thread of its own, and keeps what came of it."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.errors, self.answers = engine, [""], 0
        self._inputs = sample(engine.inputs, 1)
        self._expected = engine.infer(self._inputs)["action"]
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._done.wait(0.005):
            self._ask()

    def _ask(self) -> None:
        try:
            answer = self.engine.infer(self._inputs)["action"]
        except EngineError as error:
            self.errors.append(str(error))
        else:
            np.testing.assert_allclose(answer, self._expected, atol=1e-4)
            self.answers += 1

    def answers_again(self) -> bool:
        before = self.answers
        return wait_until(lambda: self.answers > before + 5, 20)

    def fails_again(self) -> bool:
        before = len(self.errors)
        return wait_until(lambda: len(self.errors) > before + 5, 20)

    def stop(self) -> None:
        self._done.set()
        self._thread.join(10)
        self.engine.close()


@pytest.mark.thorough
def test_a_server_killed_under_load_is_found_again(server: MLServer) -> None:
    loads = [Load(remote(server, protocol, "policy", deadline_ms=2_000)) for protocol in PROTOCOLS]
    try:
        assert all(load.answers_again() for load in loads)
        resources = []
        for _ in range(2):
            server.stop()
            assert all(load.fails_again() for load in loads)
            server.start()
            assert all(load.answers_again() for load in loads), [load.errors[-1] for load in loads]
            resources.append(threading.active_count() + len(os.listdir("/proc/self/fd")))
    finally:
        for load in loads:
            load.stop()
    assert resources[1] <= resources[0] + 2
    for load in loads:
        assert any("cannot be reached: " in error for error in load.errors), load.errors
        assert any("was not asked: it failed " in error for error in load.errors), load.errors
