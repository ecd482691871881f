"""The console's keys and dialogs, driven by Textual's pilot on a real model of a graph that a story tells."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest

pytest.importorskip("textual", reason="the extra console is not installed")

from support.graph_story import Story
from textual.pilot import Pilot

from perf_inference.commands.console.app import ConsoleApp
from perf_inference.console.calls import NO_SPEECH
from perf_inference.console.graph import Offered
from perf_inference.console.picture import Picture
from perf_inference.console.screen import first_screen, plain
from perf_inference.errors import CallError


class StoryGraph:
    """A graph that a story tells; what blocks can be made to hang."""

    def __init__(self) -> None:
        self.story = Story()
        self.story.play(8)
        self.done: list[tuple[str, Any]] = []
        self.told: list[str] = []  # what the console noted, whichever answer came last
        self.hangs = threading.Event()
        self.release = threading.Event()
        self.refuses = ""
        self.what = Offered("captioner", (), "auto", "auto", "auto")
        self._stopped = ""

    def look(self) -> Picture:
        return self.story.look()

    def note(self, text: str) -> None:
        self.told.append(text)
        self.story.watch.line.note(text, self.story.now_s)

    def with_watch(self, work: Callable[[Any], Any]) -> Any:
        return work(self.story.watch)

    def stop(self) -> None:
        self.done.append(("stop", None))
        for node in (self.story.policy, self.story.gate):
            node.message = "disabled: safe action"
        self.story.play(1)
        self._stopped = "policy_node: disabled: safe action"

    def stopped(self) -> str:
        said, self._stopped = self._stopped, ""
        return said

    def call(self, word: str) -> str:
        return self._do("call", word, "a red circle" if word == "caption" else f"{word} is done")

    def set(self, node: str, values: Mapping[str, Any]) -> str:
        return self._do("set", (node, dict(values)), f"running {values.get('model', values)}")

    def offered(self, node: str) -> Offered:
        self.done.append(("offered", node))
        return self.what

    def end_stack(self) -> str:
        self.done.append(("end_stack", None))
        return ""

    def _do(self, what: str, value: Any, answer: str) -> str:
        self.done.append((what, value))
        if self.hangs.is_set():
            self.release.wait(20)
        if self.refuses:
            raise CallError(self.refuses)
        return answer


def run(
    graph: StoryGraph, drive: Callable[[ConsoleApp, Pilot[None]], Awaitable[None]], size: tuple[int, int] = (100, 40)
) -> None:
    """Run the app without a terminal, and drive it."""

    async def go() -> None:
        app = ConsoleApp(graph)
        async with app.run_test(size=size) as pilot:
            await drive(app, pilot)

    try:
        asyncio.run(go())
    finally:
        graph.release.set()


async def until(pilot: Pilot[None], true: Callable[[], Any]) -> None:
    for _ in range(1500):
        if true():
            return
        await pilot.pause(0.02)
    raise AssertionError("it did not become so")


def screen_of(app: ConsoleApp) -> str:
    """Return what the first screen shows now."""
    return "\n".join(str(app.screen_stack[0].query_one("#view").render()).splitlines())


def dialog_of(app: ConsoleApp) -> str:
    return "\n".join(str(widget.render()) for widget in app.screen.query("Static"))


@pytest.mark.slow
def test_each_key_in_either_case_and_the_screen_tells_what_came_of_it() -> None:
    graph = StoryGraph()

    async def drive(app: ConsoleApp, pilot: Pilot[None]) -> None:
        for key, done, told in (
            ("s", ("call", "caption"), 'caption: "a red circle"'),
            ("S", ("call", "caption"), 'caption: "a red circle"'),
            ("b", ("call", "pause"), "pause is done"),
        ):
            graph.done.clear()
            await pilot.press(key)
            await until(pilot, lambda told=told: told == app.hint)
            assert graph.done == [done]
            assert told in screen_of(app)
        graph.story.recorder.message = "paused"
        graph.story.play(1)
        app.redraw()
        await pilot.press("B")
        await until(pilot, lambda: ("call", "resume") in graph.done)
        await until(pilot, lambda: "resume is done" in graph.told)
        await pilot.press("E")
        assert "The robot may move" in dialog_of(app)
        await pilot.press("n")
        assert ("call", "enable") not in graph.done
        await pilot.press("e", "Y")
        await until(pilot, lambda: ("call", "enable") in graph.done)
        await until(pilot, lambda: "enable is done" in graph.told)
        await pilot.press("p")
        assert "yolo_node" in dialog_of(app)
        assert "latency, all" in dialog_of(app)
        await pilot.press("escape")
        await pilot.press("?")
        assert "Space   disable every policy" in dialog_of(app)
        await pilot.press("escape")
        await pilot.press("T")
        await until(pilot, lambda: app.focused is not None)
        await pilot.press(*"fold it", "enter")
        await until(pilot, lambda: ("set", ("policy_node", {"task": "fold it"})) in graph.done)
        await until(pilot, lambda: "running {'task': 'fold it'}" in graph.told)
        graph.refuses = "nobody there"
        await pilot.press("r")
        await until(pilot, lambda: NO_SPEECH in graph.told)
        await pilot.press("s")
        await until(pilot, lambda: "nobody there" in graph.told)
        await pilot.press("down", "down")
        assert app.engine_row is not None
        await pilot.press("Q")

    run(graph, drive)


@pytest.mark.slow
def test_space_disables_within_a_redraw_while_a_service_hangs_and_a_dialog_is_open() -> None:
    graph = StoryGraph()
    graph.hangs.set()

    async def drive(app: ConsoleApp, pilot: Pilot[None]) -> None:
        await pilot.press("s")
        await until(pilot, lambda: ("call", "caption") in graph.done)  # it hangs
        for opened in ((), ("p",), ("e",), ("?",), ("t",), ("m",)):
            graph.done.clear()
            for node in (graph.story.policy, graph.story.gate):
                node.message = "driving"
            graph.story.play(1)
            await pilot.press(*opened)
            if opened == ("m",):
                await until(pilot, lambda: len(app.screen_stack) > 1)
            await pilot.press("space")
            assert ("stop", None) in graph.done
            app.redraw()
            assert app.picture.banner.state == "SAFE"
            assert app.hint == "policy_node: disabled: safe action"
            await pilot.press("escape")

    run(graph, drive)


@pytest.mark.slow
def test_ctrl_x_asks_before_it_stops_the_robot() -> None:
    graph = StoryGraph()

    async def drive(app: ConsoleApp, pilot: Pilot[None]) -> None:
        await pilot.press("ctrl+x", "n")
        assert graph.done == []
        await pilot.press("ctrl+x", "y")
        await until(pilot, lambda: ("end_stack", None) in graph.done)
        assert graph.done[0] == ("stop", None)

    run(graph, drive)


@pytest.mark.slow
def test_a_model_is_chosen_and_what_cannot_be_is_refused_with_its_reason() -> None:
    graph = StoryGraph()

    async def drive(app: ConsoleApp, pilot: Pilot[None]) -> None:
        await pilot.press("m")
        await until(pilot, lambda: len(app.screen_stack) > 1)
        said = dialog_of(app)
        assert "1* Original (captioner)" in said
        assert "2  Pruned (pruned)" in said
        assert "allowed_models: [/path/of/model.onnx]" in said
        assert "Original FP32" in said
        assert "try: M 2 3" in said
        await pilot.press("3")
        assert "cannot be chosen: not allowed: add to the section of caption_node" in dialog_of(app)
        await pilot.press("2", "3")
        assert "monitor_node tells of no NVIDIA GPU there" in dialog_of(app)  # tensorrt
        await pilot.press("4", "1", "enter")
        wanted = {"model": "pruned", "precision": "int8", "runtime": "auto", "device": "auto"}
        await until(pilot, lambda: ("set", ("caption_node", wanted)) in graph.done)
        await until(pilot, lambda: app.hint == "running pruned")
        graph.refuses = "int8 needs onnx"
        await pilot.press("m")
        await until(pilot, lambda: len(app.screen_stack) > 1)
        await pilot.press("2", "3", "enter", "enter")
        await until(pilot, lambda: app.hint == "int8 needs onnx")
        await pilot.press("m")
        await until(pilot, lambda: len(app.screen_stack) > 1)
        await pilot.press("2")
        await until(pilot, lambda: "Precision" in dialog_of(app))
        await pilot.press("escape")

    run(graph, drive)


@pytest.mark.slow
def test_eighty_by_twenty_four_and_back_and_a_graph_that_comes_later() -> None:
    graph = StoryGraph()
    heard, graph.story.watch.nodes = graph.story.watch.nodes, {}

    async def drive(app: ConsoleApp, pilot: Pilot[None]) -> None:
        assert "no node is heard yet" in screen_of(app)
        for key in "smtebrp":
            await pilot.press(key)
            await pilot.press("escape")
        graph.story.watch.nodes = heard
        graph.story.play(1)
        for size in ((80, 24), (132, 50), (40, 10), (80, 24)):
            await pilot.resize_terminal(*size)
            app.redraw()
            lines = screen_of(app).splitlines()
            assert max(map(len, lines)) <= max(80, size[0])
            assert len(lines) <= max(24, size[1])
        for name in heard:
            assert name[:16] in screen_of(app)

    run(graph, drive, size=(100, 30))


@pytest.mark.parametrize(("width", "height"), [(80, 24), (100, 40), (200, 60)])
def test_a_screen_fills_its_size_and_shows_every_node(width: int, height: int) -> None:
    story = Story()
    story.yolo.stages_ms["infer"] = 31.0
    picture = story.play(8)
    lines = plain(first_screen(picture, width, height)).splitlines()
    assert len(lines) == height
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    assert lines[0].startswith(" DRIVING  (policy_node)")
    assert "Original + FP32" in lines[1]
    for name in story.watch.nodes:
        assert name[:16] in text
    assert "yolo_node: infer takes 31.0 of 33.9 ms, the period is 33.3 ms" in text
    assert "$ perf-inference set yolo_node precision int8" in text
