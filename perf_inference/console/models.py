"""What can be chosen with the key M, what cannot and why, and how the combinations compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from perf_inference.console.causes.cause import shown, word
from perf_inference.console.graph import Offered
from perf_inference.console.node import NodeSeen
from perf_inference.console.screen import number

PRECISIONS = ("fp32", "fp16", "int8")
RUNTIMES = ("auto", "onnx", "torch", "tensorrt", "openvino", "transformers", "remote")
_PRUNED = {"captioner": "pruned"}  # of embedded models
_SUFFIXES = (".onnx", ".safetensors", ".pt", ".pth", ".pt2", ".engine", ".plan", ".xml", ".ts")
_WORSE = 0.02  # a score that is lower by no more is as good
_TELLING = 20  # inferences that a comparison may rest on


@dataclass(frozen=True)
class Choice:
    """A line of a dialog."""

    label: str
    value: str
    reason: str = ""  # why it cannot be chosen; empty: it can
    runs: bool = False  # it is what runs now


@dataclass
class Failures:
    """What was tried in this console's life and did not run."""

    of: dict[tuple[str, ...], str] = field(default_factory=dict)

    def add(self, node: str, wanted: Mapping[str, str], why: str) -> None:
        """Keep why it did not."""
        if len(self.of) < 200:
            self.of[_key(node, wanted)] = why

    def why(self, node: str, wanted: Mapping[str, str]) -> str:
        """Return why exactly this did not run, or nothing."""
        return self.of.get(_key(node, wanted), "")


def _key(node: str, wanted: Mapping[str, str]) -> tuple[str, ...]:
    return (node, *(wanted.get(name, "") for name in ("model", "precision", "runtime", "device")))


def models(node: NodeSeen, original: str, offered: Offered) -> list[Choice]:
    """Return the models: the one that the node began with, a pruned one, and what allowed_models names.

    Args:
        original: `model` as it was when the console saw it first.
    """
    runs = offered.model
    found = [Choice(f"Original ({shown(original)})", original, runs=runs == original)]
    pruned = _PRUNED.get(original)
    if pruned is not None:
        found.append(Choice(f"Pruned ({pruned})", pruned, runs=runs == pruned))
    else:
        line = f"make one (perf-inference prune) and add: allowed_models: [{shown(original)}, FILE]"
        found.append(Choice("Pruned", "", f"no pruned model of {shown(original)} is known: {line}"))
    for entry in offered.allowed_models:
        if entry in (original, pruned):
            continue
        if entry.endswith(_SUFFIXES) or "://" in entry:
            found.append(Choice(shown(entry), entry, runs=runs == entry))
        else:
            what = "a content" if entry.startswith("sha256:") else "a folder"
            fix = f"perf-inference set {word(node.name)} model FILE"
            found.append(Choice(shown(entry), "", f"{what}: name a file of it: {fix}"))
    if not offered.allowed_models:
        line = f"add to the section of {shown(node.name)}: allowed_models: [/path/of/model.onnx]"
        found.append(Choice("another file", "", f"not allowed: {line}"))
    return found


def precisions(node: NodeSeen, wanted: Mapping[str, str], offered: Offered, failures: Failures) -> list[Choice]:
    """Return the precisions of a chosen model."""
    runs = node.said.precision if wanted["model"] == offered.model else None
    return [
        Choice(one.upper(), one, failures.why(node.name, {**wanted, "precision": one}), runs == one)
        for one in PRECISIONS
    ]


def runtimes(node: NodeSeen, wanted: Mapping[str, str], offered: Offered, has_gpu: bool | None) -> list[Choice]:
    """Return the runtimes; `has_gpu`: None where no monitor tells."""
    found = []
    for one in RUNTIMES:
        reason = ""
        if one == "tensorrt" and not has_gpu:
            reason = _no_gpu(has_gpu)
        elif one == "remote" and "://" not in wanted["model"]:
            reason = "the model is no address (grpc://host:8081/NAME)"
        elif one == "transformers" and wanted["model"].endswith(_SUFFIXES):
            reason = "the model is no Hugging Face folder"
        found.append(Choice(one, one, reason, offered.runtime == one))
    return found


def devices(offered: Offered, gpus: int | None) -> list[Choice]:
    """Return the devices; `gpus`: how many the monitor tells of, None where none tells."""
    found = [Choice(one, one, "", offered.device == one) for one in ("auto", "cpu")]
    for index in range(max(1, gpus or 0)):
        name = f"cuda:{index}"
        found.append(
            Choice(name, name, "" if gpus else _no_gpu(None if gpus is None else False), offered.device == name)
        )
    return found


def _no_gpu(has_gpu: bool | None) -> str:
    return "no monitor_node tells of a GPU there" if has_gpu is None else "monitor_node tells of no NVIDIA GPU there"


def table(node: NodeSeen, choices: Sequence[Choice]) -> list[str]:
    """Return original and pruned by three precisions, as measured while each ran in this console's life."""
    lines = [f"{'':<15}{'size MB':>8}{'CPU MB':>8}{'infer ms':>9}{'n':>5}{'score':>7}"]
    known = [choice for choice in choices[:2] if choice.value]
    for place, choice in enumerate(known, start=1):
        for column, precision in enumerate(PRECISIONS, start=1):
            figures = node.loaded.get((choice.value.rpartition("/")[2], precision)) or node.loaded.get(
                (choice.value.rpartition("/")[2].rpartition(".")[0], precision)
            )
            runs = choice.runs and node.said.precision == precision
            how = "runs now" if runs else "" if figures else f"try: M {place} {column}"
            lines.append(_line(f"{choice.label.split(' ')[0]} {precision.upper()}", figures or {}, how))
    return [*lines, best(node)]


def best(node: NodeSeen) -> str:
    """Return the sentence that names the best combination of those that ran: the fastest of those that are as good."""
    told = {key: f for key, f in node.loaded.items() if f["n"] >= _TELLING and f["infer_ms"] is not None}
    if len(told) < 2:
        return f"best: - (of {len(told)} measured with {_TELLING} inferences; try another)"
    scores = [f["score"] for f in told.values() if f["score"] is not None]
    good = {k: f for k, f in told.items() if f["score"] is None or f["score"] >= max(scores) - _WORSE}
    exact = {k: f for k, f in good.items() if f["difference"] is None or f["difference"] <= 0.05} or good
    (engine, precision), figures = min(exact.items(), key=lambda item: item[1]["infer_ms"])
    unknown = "" if scores else "; no model says its score"
    return (
        f"best of {len(told)} measured: {shown(engine)} {precision.upper()}, {number(figures['infer_ms'], 2)} ms "
        f"(n {figures['n']}){unknown}"
    )


def _line(name: str, figures: Mapping[str, Any], how: str) -> str:
    size, memory = number(figures.get("size_mb"), 2), number(figures.get("memory_mb"), 0)
    speed, score = number(figures.get("infer_ms"), 2), number(figures.get("score"), 3)
    return f"{name:<15}{size:>8}{memory:>8}{speed:>9}{figures.get('n') or '-':>5}{score:>7}  {how}"
