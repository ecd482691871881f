"""Ctrl-C and SIGTERM, as an exception while things are being started and as a flag later."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from importlib.machinery import ExtensionFileLoader
from types import CodeType, FrameType
from typing import Any
from weakref import WeakKeyDictionary, WeakSet, WeakValueDictionary

Handler = Callable[[int, "FrameType | None"], None]
_INITS = {ExtensionFileLoader.create_module.__code__, ExtensionFileLoader.exec_module.__code__}
_WITH_CALLBACKS: tuple[Any, ...] = (  # of weak references
    getattr(sys.modules.get("_frozen_importlib"), "_get_module_lock", None),
    *(kind.__init__ for kind in (WeakKeyDictionary, WeakSet, WeakValueDictionary)),
)
_CALLBACKS = {
    inner
    for function in filter(None, _WITH_CALLBACKS)
    for inner in function.__code__.co_consts
    if isinstance(inner, CodeType)
}
_AGAIN_S = 0.01


class Stopped(BaseException):
    """Raised where the main thread is when a signal comes during the start."""


class StopFlag:
    """Catches SIGINT and SIGTERM from its making on; `name` tells which one came.

    As long as `at_once` is set, a signal also raises `Stopped`.
    """

    def __init__(self) -> None:
        self.name = ""
        self.at_once = False
        self._is_put_off = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    def __bool__(self) -> bool:
        return bool(self.name)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        first = not self.name or self._is_put_off
        self.name = signal.Signals(number).name
        self._is_put_off = first and self.at_once and put_off(self._on_signal, number, frame)
        if self.at_once and first and not self._is_put_off:
            raise Stopped


def put_off(handler: Handler, number: int, frame: FrameType | None) -> bool:
    """Return whether a signal must not raise where it found the main thread; then it comes to the handler again.

    While the module of an extension is made, most do not expect that what they import raises: orjson crashes. And what
    the callback of a weak reference or a `__del__` raises is printed by Python, and stops nothing.
    """
    while frame is not None and not _is_deaf(frame.f_code):
        frame = frame.f_back
    if frame is None:
        return False

    def again(_: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        handler(number, frame)

    signal.signal(signal.SIGALRM, again)
    signal.setitimer(signal.ITIMER_REAL, _AGAIN_S)
    return True


def _is_deaf(code: CodeType) -> bool:
    return code in _INITS or code in _CALLBACKS or code.co_name == "__del__"


def interrupt_safely() -> None:
    """Let Ctrl-C raise KeyboardInterrupt as it does by default, but not where that crashes."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _on_interrupt)


def _on_interrupt(number: int, frame: FrameType | None) -> None:
    if not put_off(_on_interrupt, number, frame):
        raise KeyboardInterrupt
