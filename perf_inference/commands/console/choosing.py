"""The key M: model, precision, runtime and device, one after the other, and then the swap."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perf_inference.commands.console.dialogs import Choosing
from perf_inference.console import models
from perf_inference.console.causes.cause import shown
from perf_inference.console.graph import Offered
from perf_inference.console.models import Choice
from perf_inference.console.node import NodeSeen
from perf_inference.console.watch import Watch
from perf_inference.errors import CallError

if TYPE_CHECKING:
    from perf_inference.commands.console.app import ConsoleApp


def choose_model(app: ConsoleApp) -> None:
    """Ask for a model of the node that the head line tells of."""
    row = app.engine_row
    if row is None:
        app.tell("M: no node with an engine is heard", noted=False)
        return
    app.tell(f"{row.name} is asked for its models", noted=False)
    app.then(lambda: app.graph.offered(row.name), lambda offered: _Choice(app, row.name, offered).begin())


class _Choice:
    """What has been chosen so far."""

    def __init__(self, app: ConsoleApp, name: str, offered: Offered) -> None:
        self._app, self._name, self._offered = app, name, offered
        self._wanted = {"model": offered.model, "precision": offered.precision, "runtime": offered.runtime,
                        "device": offered.device}  # fmt: skip
        self._original = app.originals.setdefault(name, offered.model)

    def begin(self) -> None:
        choices, below = self._app.graph.with_watch(self._models)
        self._ask(f"Model of {shown(self._name)}", "model", choices, self._precision, below)

    def _models(self, watch: Watch) -> tuple[list[Choice], list[str]]:
        node = watch.nodes.get(self._name) or NodeSeen(self._name)
        choices = models.models(node, self._original, self._offered)
        return choices, models.table(node, choices)

    def _precision(self) -> None:
        choices: list[Choice] = self._app.graph.with_watch(
            lambda watch: models.precisions(
                watch.nodes.get(self._name) or NodeSeen(self._name), self._wanted, self._offered, self._app.failures
            )
        )
        self._ask(f"Precision of {shown(self._wanted['model'])}", "precision", choices, self._runtime)

    def _runtime(self) -> None:
        node, gpus = NodeSeen(self._name), self._gpus()
        choices = models.runtimes(node, self._wanted, self._offered, None if gpus is None else gpus > 0)
        self._ask("Runtime", "runtime", choices, self._device)

    def _device(self) -> None:
        self._ask("Device", "device", models.devices(self._offered, self._gpus()), self._set)

    def _set(self) -> None:
        wanted = dict(self._wanted)

        def swap() -> str:
            try:
                return self._app.graph.set(self._name, wanted)
            except CallError as error:
                self._app.failures.add(self._name, wanted, str(error))
                raise

        said = f"{wanted['model']} {wanted['precision'].upper()} ({wanted['runtime']}, {wanted['device']})"
        self._app.ask(f"{self._name} loads {said}; what runs goes on meanwhile", swap)

    def _gpus(self) -> int | None:
        """Return how many GPUs the monitor of the node's host tells of; None: none tells."""

        def count(watch: Watch) -> int | None:
            node = watch.nodes.get(self._name)
            now_s = node.newest.heard_s if node is not None and node.newest is not None else 0.0
            if node is None or watch.machines.host(node.host, now_s) is None:
                return None
            return len(watch.machines.gpus(node.host, now_s))

        found: int | None = self._app.graph.with_watch(count)
        return found

    def _ask(
        self, title: str, name: str, choices: list[Choice], following: object, below: list[str] | None = None
    ) -> None:
        def take(choice: Choice | None) -> None:
            if choice is None:
                self._app.tell("", noted=False)
                return
            self._wanted[name] = choice.value
            following()  # type: ignore[operator]

        self._app.push_screen(Choosing(title, choices, below or ()), take)
