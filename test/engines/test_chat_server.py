"""A chat server on the loopback that answers, stalls, breaks off, sends garbage, wants a key, and dies."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest
from support.chat_server import ChatServer
from support.processes import wait_until

from perf_inference import model_build
from perf_inference.engines import Options, load
from perf_inference.engines.chat.engine import KEY
from perf_inference.errors import ConfigError, EngineError, InputError
from perf_inference.tasks.language.caption import Caption, CaptionTask
from perf_inference.testing.engine_contract import CHECKS, Subject

_IMAGE = np.full((48, 64, 3), (0, 0, 255), np.uint8)


@pytest.fixture
def chat() -> Iterator[ChatServer]:
    server = ChatServer()
    yield server
    server.close()


def _caption(url: str, prompt: str = "", said: list[str] | None = None, deadline_ms: float = 20_000) -> Caption:
    engine = load(url, options=Options(deadline_ms=deadline_ms, max_tokens=9))
    try:
        task = CaptionTask(engine, prompt)
        if said is not None:
            task.on_text = said.append
        inputs, context = task.preprocess(_IMAGE)
        return task.postprocess(engine.infer(inputs), context)
    finally:
        engine.close()


def test_image_and_prompt_are_asked_and_the_answer_is_streamed(chat: ChatServer) -> None:
    said: list[str] = []
    found = _caption(chat.url(), "what is red?", said)
    assert (found.text, found.tokens, found.score) == ("a red cup", 5, None)
    assert said == ["a ", "red ", "cup"]
    request = chat.requests[0]
    assert (request["model"], request["max_tokens"], request["stream"]) == ("org/tiny-vlm", 9, True)
    assert request["messages"][0]["content"][1]["text"] == "what is red?"
    assert chat.images[0].shape == (48, 64, 3)
    assert chat.images[0][24, 32, 2] > 240  # red stays red


@pytest.mark.parametrize(("mode", "tokens"), [("whole", 7), ("no_end", 5)])
def test_other_ways_to_answer(chat: ChatServer, mode: str, tokens: int) -> None:
    chat.mode = mode
    said: list[str] = []
    found = _caption(chat.url(), said=said)
    assert (found.text, found.tokens, "".join(said)) == ("a red cup", tokens, "a red cup")


@pytest.mark.parametrize(
    ("mode", "words"),
    [("cut", "cut off after 2"), ("garbage", "wrong answer"), ("error", r"out of memory.* \(500\)")],
)
def test_a_bad_answer_is_an_error_and_the_next_may_be_good(chat: ChatServer, mode: str, words: str) -> None:
    engine = load(chat.url(), options=Options(deadline_ms=20_000))
    task = CaptionTask(engine)
    inputs, context = task.preprocess(_IMAGE)
    chat.mode = mode
    with pytest.raises(EngineError, match=words) as raised:
        engine.infer(inputs)
    assert "\n" not in str(raised.value)
    chat.mode = "answer"
    assert task.postprocess(engine.infer(inputs), context).text == "a red cup"
    engine.close()


def test_a_server_that_stalls_misses_the_deadline(chat: ChatServer) -> None:
    chat.mode = "stall"
    with pytest.raises(EngineError, match="missed the deadline of 300 ms"):
        _caption(chat.url(), deadline_ms=300)


def test_a_cancelled_answer_ends_at_once_and_the_server_sees_it(chat: ChatServer) -> None:
    chat.mode = "stall"
    engine = load(chat.url(), options=Options(deadline_ms=60_000))
    task = CaptionTask(engine)
    said: list[str] = []
    task.on_text = said.append
    inputs, context = task.preprocess(_IMAGE)
    ended: list[Exception] = []

    def ask() -> None:
        try:
            task.postprocess(engine.infer(inputs), context)
        except InputError as error:
            ended.append(error)

    worker = threading.Thread(target=ask)
    worker.start()
    assert wait_until(lambda: len(said) == 2)
    assert task.stream is not None
    task.stream.cancel()
    worker.join(30)
    assert [str(error) for error in ended] == ["the caption was cancelled: a newer trigger came"]
    assert chat.gone.wait(30)
    engine.close()


def test_a_server_that_died_is_said_and_comes_back(chat: ChatServer) -> None:
    engine = load(chat.url(), options=Options(deadline_ms=5000))
    task = CaptionTask(engine)
    inputs, context = task.preprocess(_IMAGE)
    chat.close()
    with pytest.raises(EngineError, match="cannot be reached"):
        engine.infer(inputs)
    again = ChatServer(port=chat.port)
    assert task.postprocess(engine.infer(inputs), context).text == "a red cup"
    engine.close()
    again.close()


def test_a_key_comes_from_the_environment_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    server = ChatServer(key="hidden")
    with pytest.raises(ConfigError, match=KEY):
        load(server.url(), options=Options(deadline_ms=5000))
    monkeypatch.setenv(KEY, "wrong")
    with pytest.raises(ConfigError, match=KEY) as raised:
        load(server.url(), options=Options(deadline_ms=5000))
    assert "wrong" not in str(raised.value)
    monkeypatch.setenv(KEY, "hidden")
    assert _caption(server.url()).text == "a red cup"
    server.close()


def test_what_a_server_cannot_do_is_refused(chat: ChatServer) -> None:
    with pytest.raises(ConfigError, match=r"has no model 'other', only org/tiny-vlm"):
        load(chat.url("other"), options=Options(deadline_ms=5000))
    with pytest.raises(ConfigError, match="beams 3"):
        load(chat.url(), options=Options(beams=3))
    with pytest.raises(ConfigError, match="precision"):
        model_build.resolve(chat.url(), options=Options(precision="int8"))


def test_only_allowed_servers_may_be_asked_at_run_time() -> None:
    allowed = model_build.AllowedModels.of("chat+http://robot:8000/org/a", ())
    allowed.check("chat+http://robot:8000/org/b")
    for other in ("chat+http://elsewhere:8000/org/a", "chat+https://robot:8000/org/a", "http://robot:8000/a"):
        with pytest.raises(ConfigError, match="may not be loaded"):
            allowed.check(other)
    one = model_build.AllowedModels.of("captioner", ("chat+http://robot:8000/org/a",))
    one.check("chat+http://robot:8000/org/a")
    with pytest.raises(ConfigError, match="may not be loaded"):
        one.check("chat+http://robot:8000/org/b")


@pytest.mark.slow
def test_keeps_the_contract_of_engines(chat: ChatServer) -> None:
    """All checks but the one that wants a precision: a chat server does not tell it."""
    first = {"image": _IMAGE, "prompt": np.zeros(0, np.uint8)}
    second = {"image": _IMAGE[:20], "prompt": np.frombuffer(b"why?", np.uint8)}
    chat.echo = True
    for check in CHECKS:
        if check.__name__ != "info_is_filled":
            check(Subject(lambda: load(chat.url(), options=Options(deadline_ms=20_000)), (first, second)))
