"""The console on a terminal (Textual): one view that is drawn twice a second, keys, and dialogs.

What asks the graph for something runs in a thread of its own: no service that hangs holds up a key.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Callable
from typing import Any, ClassVar

from rich.text import Text
from textual import events
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Input, Static

from perf_inference.commands.console.choosing import choose_model
from perf_inference.commands.console.dialogs import Asking, Reading, Writing
from perf_inference.commands.console.stack import Stack
from perf_inference.console.calls import NO_SPEECH
from perf_inference.console.causes.policy import state_of
from perf_inference.console.figures import statistics_lines
from perf_inference.console.graph import Graph
from perf_inference.console.models import Failures
from perf_inference.console.picture import Picture, Row
from perf_inference.console.screen import first_screen
from perf_inference.errors import CallError
from perf_inference.printable import printable

REDRAW_S, _FIRST_S = 0.5, 0.1
HELP = """Keys, in either case

Space   disable every policy, at once; never asks
E       enable the policy (asks)        S  caption this frame
Ctrl+X  stop the robot (asks)           R  say the last caption again
M  model, precision, runtime, device    P  statistics
T  task of the policy                   B  pause the recording, or go on
Up Down  choose the node of the head    Q  leave; the robot goes on

The worst node is first; under each what takes its time, and the
command that goes on from there. Hz: the rate, and the expected one.
p50, max: latencies [ms] with the engine that runs now.
'-': not known, or too few samples.
Space works in every dialog, and while a service hangs.
Scripts: perf-inference call, set, stats, nodes, console --once""".splitlines()


class ConsoleApp(App[None]):
    """The console."""

    CSS = "Screen { overflow: hidden; } #view { width: 100%; height: 100%; }"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "disable", priority=True, show=False),
        Binding("ctrl+x", "stop_robot", priority=True, show=False),
        Binding("ctrl+c", "leave", priority=True, show=False),
        Binding("ctrl+q", "leave", priority=True, show=False),
    ]

    def __init__(self, graph: Graph, stack: Stack | None = None) -> None:
        super().__init__()
        self.graph = graph
        self.failures = Failures()
        self.originals: dict[str, str] = {}  # node: its model when it was asked first
        self.picture: Picture = graph.look()
        self.hint = ""
        self._stack, self._chosen, self._bell = stack, "", self.picture.bell
        self._keys: dict[str, Callable[[], None]] = {
            "s": lambda: self.ask("a caption is asked for", lambda: f'caption: "{self.graph.call("caption")}"'),
            "r": lambda: self.ask("", lambda: self.graph.call("say"), NO_SPEECH),
            "p": self._statistics,
            "m": lambda: choose_model(self),
            "t": self._give_task,
            "e": self._enable,
            "b": self._record,
            "?": lambda: self._open(Reading(lambda: HELP)),
            "q": self.exit,
        }

    def compose(self) -> ComposeResult:
        yield Static(id="view")

    def on_mount(self) -> None:
        self.set_interval(REDRAW_S, self.redraw)
        self._first = self.set_interval(_FIRST_S, self._look_for_a_first)
        self.redraw()

    def on_resize(self, event: events.Resize) -> None:
        self.redraw()

    def on_key(self, event: events.Key) -> None:
        if event.key in ("up", "down"):
            self._choose(1 if event.key == "down" else -1)
        elif (event.character or "").lower() in self._keys:
            self._keys[(event.character or "").lower()]()

    # what is shown ---------------------------------------------------------------------------------------------------

    def redraw(self) -> None:
        """Show what is so now."""
        self.picture = self.graph.look()
        for news in (self.graph.stopped(), self._stack.news() if self._stack is not None else ""):
            if news:
                self.tell(news)
        if self.picture.bell != self._bell:
            self._bell = self.picture.bell
            self.bell()
        self._show()  # also under a dialog: the first line stays true

    def _look_for_a_first(self) -> None:
        """Show a first node as soon as it is heard."""
        if self.graph.look().rows:
            self._first.stop()
            self.redraw()

    def tell(self, text: str, noted: bool = True) -> None:
        """Say what was done, on the last line but one and in the time line."""
        self.hint = text = printable(text, 500)
        if noted and text:
            self.graph.note(text)
        self._show()

    def _show(self) -> None:
        width, height = self.size
        text = Text(no_wrap=True, overflow="crop", end="")
        for line in first_screen(self.picture, width, height, self._chosen, self.hint):
            for span in line:
                text.append(span.text, span.style)
            text.append("\n")
        self.screen_stack[0].query_one("#view", Static).update(text)

    def _choose(self, step: int) -> None:
        names = [row.name for row in self.picture.rows if row.engine is not None]
        if names:
            place = names.index(self._chosen) + step if self._chosen in names else 0
            self._chosen = names[place % len(names)]
            self._show()

    @property
    def engine_row(self) -> Row | None:
        """The node that the head line tells of."""
        return (self.picture.row(self._chosen) if self._chosen else None) or self.picture.header

    # what is asked ---------------------------------------------------------------------------------------------------

    def ask(self, meanwhile: str, work: Callable[[], str], refused: str = "") -> None:
        """Do what blocks in a thread of its own, and tell what came of it.

        Args:
            refused: is told in place of a refusal.
        """
        if meanwhile:
            self.tell(meanwhile, noted=False)

        def do() -> tuple[Callable[[Any], None], Any]:
            try:
                return self.tell, work()
            except CallError as error:
                return self.tell, refused or str(error)
            except Exception as error:  # whatever a library raises: the console goes on
                return self.tell, f"{type(error).__name__}: {error}"

        self._aside(do)

    def then(self, work: Callable[[], Any], use: Callable[[Any], None]) -> None:
        """Do what blocks in a thread of its own, and use what it returns in the app's."""

        def do() -> tuple[Callable[[Any], None], Any]:
            try:
                return use, work()
            except Exception as error:  # of the graph, or of a library
                return self.tell, str(error)

        self._aside(do)

    def _aside(self, work: Callable[[], tuple[Callable[[Any], None], Any]]) -> None:
        """Run it in a thread that the end of the console does not wait for, as it would for a worker of Textual.

        Args:
            work: returns what is to be called in the app's own thread, and with what.
        """
        loop, context = asyncio.get_running_loop(), contextvars.copy_context()

        def do() -> None:
            use, value = work()
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(lambda: use(value) if self.is_running else None, context=context)

        threading.Thread(target=do, name="ask", daemon=True).start()

    def action_disable(self) -> None:
        """Disable every policy at once, from wherever."""
        self.graph.stop()
        if isinstance(self.focused, Input):
            self.focused.insert_text_at_cursor(" ")
        self.tell("Space: every policy is being disabled")

    def action_stop_robot(self) -> None:
        """Ask, and then disable every policy and end what was started with the console."""

        def stop(sure: bool | None) -> None:
            if sure:
                self.graph.stop()
                self.ask("the robot is being stopped", self._ended)

        self._open(
            Asking("Stop the robot? Every policy is disabled, and the nodes that --up has started are ended."), stop
        )

    def action_leave(self) -> None:
        """Leave; the robot goes on."""
        self.exit()

    def _ended(self) -> str:
        return (
            self.graph.end_stack() or "every policy is being disabled; the nodes go on: whoever started them ends them"
        )

    def _open(self, screen: Any, use: Callable[[Any], None] | None = None) -> None:
        self.push_screen(screen, use)

    def _statistics(self) -> None:
        def lines() -> list[str]:
            found: list[str] = self.graph.with_watch(
                lambda watch: statistics_lines(node for _, node in sorted(watch.nodes.items()))
            )
            return found

        self._open(Reading(lines))

    def _enable(self) -> None:
        def enable(sure: bool | None) -> None:
            if sure:
                self.ask("the policy is being enabled", lambda: self.graph.call("enable"))

        if self.picture.banner.state == "NO POLICY":
            self.tell("E: no policy_node is heard: there is nothing to enable", noted=False)
        else:
            self._open(Asking("Enable the policy? The robot may move."), enable)

    def _record(self) -> None:
        recorders = [row for row in self.picture.rows if row.cause.kind in _RECORDER or "recorder" in row.name]
        if not recorders:
            self.tell("B: no recorder_node is heard: start one with perf-inference run", noted=False)
        elif any(cause.kind == "paused" for cause in (recorders[0].cause, *recorders[0].others)):
            self.ask("", lambda: self.graph.call("resume"))
        else:
            self.ask("", lambda: self.graph.call("pause"))

    def _give_task(self) -> None:
        policies: list[str] = self.graph.with_watch(
            lambda watch: [
                name
                for name, node in watch.nodes.items()
                if node.said.engine is not None and state_of(node) is not None
            ]
        )
        if not policies:
            self.tell("T: no policy_node is heard", noted=False)
            return
        name = policies[0]

        def give(text: str | None) -> None:
            if text is not None:
                self.ask(f"{name} is given its task", lambda: self.graph.set(name, {"task": text}))

        title = (
            f"Task of {printable(name, 60)}. Enter gives it, Esc leaves. A space stops the policy too; E enables it."
        )
        self._open(Writing(title, ""), give)


_RECORDER = ("records", "paused", "disk_full", "disk", "disk_slow")
