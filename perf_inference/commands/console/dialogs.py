"""The dialogs of the console: a question, a choice, a line of text, a page to read."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from perf_inference.console.models import Choice

_BOX = """
    {name} { align: center middle; }
    {name} > Vertical { width: 100%; max-width: 110; height: auto; max-height: 90%; border: round $accent;
                        background: $surface; padding: 0 1; }
"""


class Asking(ModalScreen[bool]):
    """A question that Y answers; every other key says no."""

    CSS = _BOX.replace("{name}", "Asking")

    def __init__(self, question: str) -> None:
        super().__init__()
        self._question = question

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static(Text(f"{self._question}\n\nY yes   N no"))

    def on_key(self, event: events.Key) -> None:
        event.stop()
        self.dismiss((event.character or "").lower() == "y")


class Choosing(ModalScreen[Choice | None]):
    """Choices by their number; Enter takes what runs now or the first that can be chosen, Escape none."""

    CSS = _BOX.replace("{name}", "Choosing") + "    #below { text-wrap: nowrap; }\n"

    def __init__(self, title: str, choices: Sequence[Choice], below: Sequence[str] = ()) -> None:
        super().__init__()
        self._title, self._choices, self._below = title, choices, below
        self._refused = ""

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static(self._text(), id="choices")
            if self._below:
                yield Static(Text("\n".join(["", *self._below])), id="below")

    def on_key(self, event: events.Key) -> None:
        event.stop()
        if event.key == "escape":
            self.dismiss(None)
        elif event.key == "enter":
            self._take(next((one for one in self._choices if one.runs and not one.reason), None) or self._first())
        elif event.character and event.character.isdecimal():
            place = int(event.character) - 1
            if 0 <= place < len(self._choices):
                self._take(self._choices[place])

    def _first(self) -> Choice | None:
        return next((one for one in self._choices if not one.reason), None)

    def _take(self, choice: Choice | None) -> None:
        if choice is not None and not choice.reason:
            self.dismiss(choice)
            return
        self._refused = f"cannot be chosen: {choice.reason if choice else 'nothing can'}"
        self.query_one("#choices", Static).update(self._text())

    def _text(self) -> Text:
        text = Text(f"{self._title}\n\n", style="bold")
        for place, one in enumerate(self._choices, start=1):
            mark = "*" if one.runs else " "
            why = f"  {one.reason}" if one.reason else ""
            text.append(f" {place}{mark} {one.label}{why}\n", "dim" if one.reason else "not bold")
        text.append(f"\n{self._refused}" if self._refused else "", "yellow")
        text.append("\na number chooses, Enter keeps what runs (*), Esc leaves", "not bold dim")
        return text


class _Line(Input):
    """A line that leaves Space to the app: it disables the policy wherever it is pressed."""

    def check_consume_key(self, key: str, character: str | None) -> bool:
        return key != "space" and super().check_consume_key(key, character)


class Writing(ModalScreen[str | None]):
    """A line of text."""

    CSS = _BOX.replace("{name}", "Writing")

    def __init__(self, title: str, before: str) -> None:
        super().__init__()
        self._title, self._before = title, before

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static(Text(self._title))
            yield _Line(self._before, id="line")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.dismiss(event.value)

    def on_key(self, event: events.Key) -> None:
        if event.key == "escape":
            event.stop()
            self.dismiss(None)


class Reading(ModalScreen[None]):
    """A page that is made anew twice a second; arrows scroll it, every other key leaves it."""

    CSS = (
        _BOX.replace("{name}", "Reading")
        + "    Reading VerticalScroll { height: auto; max-height: 100%; }\n    #page { text-wrap: nowrap; }\n"
    )

    def __init__(self, lines: Callable[[], Sequence[str]], period_s: float = 0.5) -> None:
        super().__init__()
        self._lines, self._period_s = lines, period_s

    def compose(self) -> ComposeResult:
        with Vertical(), VerticalScroll():
            yield Static(self._page(), id="page")

    def on_mount(self) -> None:
        self.set_interval(self._period_s, lambda: self.query_one("#page", Static).update(self._page()))

    def on_key(self, event: events.Key) -> None:
        if event.key not in ("up", "down", "pageup", "pagedown", "home", "end"):
            event.stop()
            self.dismiss(None)

    def _page(self) -> Text:
        return Text("\n".join([*self._lines(), "", "Esc leaves"]), no_wrap=True)
