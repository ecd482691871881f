"""perf-inference prune: a smaller checkpoint of the same network, and what it costs."""

from __future__ import annotations

import argparse
import json
import shlex
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rich import box
from rich.table import Table

from perf_inference import missing
from perf_inference.commands.whole_table import console_of, print_whole
from perf_inference.demo.model_score import Score, score_of
from perf_inference.engines import RUNTIMES, Options, find_model, load
from perf_inference.engines.architectures import Architecture, build, names
from perf_inference.errors import ConfigError
from perf_inference.printable import printable
from perf_inference.quantities import positive, whole

if TYPE_CHECKING:
    from perf_inference.engines.pytorch.checkpoint import Checkpoint

NEEDS_ROS = False
_SCORES = ("score", "accuracy", "bleu", "map50")  # how keys of the metadata begin that say how good a model is
KEY = "pruning"  # of the metadata: what was done, and the scores


class Row(NamedTuple):
    """One line of the table."""

    stage: str
    parameters: int
    non_zero: int
    file_bytes: int
    score: Score | None  # None: the model is for none of the demo's tasks


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("model", metavar="MODEL", help="an embedded model's name, or a .safetensors, .pt or .pth file")
    parser.add_argument(
        "--structured", type=float, default=0.3, metavar="SHARE", help="of the units to take out (default: 0.3)"
    )
    parser.add_argument(
        "--magnitude", type=float, default=0.1, metavar="SHARE", help="of the weights left to set to 0 (default: 0.1)"
    )
    parser.add_argument(
        "--fine-tune", type=whole, default=0, metavar="STEPS", help="of the demo's training, afterwards (default: none)"
    )
    parser.add_argument(
        "--out", type=Path, metavar="PATH", help="default: MODEL_pruned in this directory, in the same format"
    )
    parser.add_argument(
        "--scenes",
        type=positive,
        default=200,
        help="held-out ones to score on; a policy: a tenth as many episodes (default: 200)",
    )
    parser.add_argument("--threads", type=whole, default=0, help="of PyTorch (default: one per core)")
    parser.add_argument("--architecture", default="", help="of a checkpoint that does not name its own")
    parser.add_argument("--allow-pickle", action="store_true", help="the checkpoint may run code while it is read")


def run(options: argparse.Namespace) -> int:
    """Prune, score, fine-tune on request, write, and say what came of it."""
    if not RUNTIMES["torch"].installed:
        raise ConfigError(f"pruning needs PyTorch, which is not installed: {RUNTIMES['torch'].install}")
    import torch

    from perf_inference.engines.pytorch.checkpoint import load_checkpoint

    source, out = _files(options)
    if options.threads:
        torch.set_num_threads(options.threads)
    checkpoint = load_checkpoint(source, options.allow_pickle)
    checkpoint = replace(checkpoint, architecture=options.architecture or checkpoint.architecture)
    if not checkpoint.architecture:
        raise ConfigError(
            f"'{source}' does not say which network its weights are for; give --architecture, one of "
            + ", ".join(names())
        )
    with tempfile.TemporaryDirectory() as directory:
        stages = Stages(Path(directory), source.suffix, checkpoint, options.scenes)
        pruned = prune(checkpoint, stages, options)
    record = {
        "source": source.name,
        "structured": options.structured,
        "magnitude": options.magnitude,
        "fine_tune_steps": options.fine_tune,
        "scored_on": stages.rows[0].score and stages.rows[0].score.samples,
        "scores": {row.stage: row.score and row.score.value for row in stages.rows},
    }
    _save(
        out,
        replace(
            checkpoint,
            metadata={**_unscored(checkpoint.metadata), **_scored(stages.rows[-1].score), KEY: json.dumps(record)},
        ),
        pruned,
    )
    print_whole(console_of(100), table(stages.rows))
    print(f"written: {printable(out)}")
    for text in advice(stages.rows, out, options):
        print(printable(text))
    return 0


def prune(checkpoint: Checkpoint, stages: Stages, options: argparse.Namespace) -> Architecture:
    """Return the pruned network, each of its stages scored.

    Raises:
        ConfigError: it cannot be built, pruned or fine-tuned as the options say.
    """
    from perf_inference.model_build.converters import pruning

    network = build(checkpoint.architecture, checkpoint.weights, checkpoint.metadata)
    go_on = _tuning(network) if options.fine_tune else None
    weights = pruning.without_units(network, options.structured)
    smaller = build(checkpoint.architecture, weights, checkpoint.metadata)
    smaller.module.load_state_dict(pruning.without_small_weights(smaller.module, options.magnitude))
    stages.add("original", network)
    stages.add("pruned", smaller)
    if go_on is not None:
        with pruning.zeros_kept(smaller.module):
            go_on(smaller.module, options.fine_tune)
        stages.add("fine-tuned", smaller)
    return smaller


def _tuning(network: Architecture) -> Callable[[Any, int], None]:
    """Return what trains the network on.

    Raises:
        ConfigError: it is none of the demo's, or what the training needs is not installed.
    """
    if find_spec("onnx") is None:
        raise ConfigError(f"--fine-tune needs onnx, which is not installed: {missing.extra('build')}")
    from perf_inference.demo import tuning

    tuning.check(network.module)
    return tuning.go_on


class Stages:
    """The stages of a checkpoint; each is written, so that its size and score are those of a file."""

    def __init__(self, directory: Path, suffix: str, checkpoint: Checkpoint, scenes: int) -> None:
        self.rows: list[Row] = []
        self._directory, self._suffix, self._checkpoint, self._scenes = directory, suffix, checkpoint, scenes

    def add(self, stage: str, network: Architecture) -> None:
        """Score a network as it is now."""
        from perf_inference.model_build.converters import pruning

        path = self._directory / f"{stage}{self._suffix}"
        _save(path, self._checkpoint, network)
        print(f"{stage}: scoring ...", flush=True)
        engine = load(str(path), "torch", Options(threads=1, device="cpu"))
        score = score_of(engine, self._scenes)
        engine.close()
        self.rows.append(Row(stage, *pruning.count(network.module), path.stat().st_size, score))


def table(rows: list[Row]) -> Table:
    """Return the stages side by side."""
    made = Table(box=box.SIMPLE_HEAD)
    score = rows[0].score.name if rows[0].score else "score"
    for heading in ("", "parameters", "non-zero", "bytes", score):
        made.add_column(heading, justify="right" if heading else "left")
    for row in rows:
        said = "-" if row.score is None else f"{row.score.value:.4f}"
        made.add_row(row.stage, f"{row.parameters:,}", f"{row.non_zero:,}", f"{row.file_bytes:,}", said)
    return made


def advice(rows: list[Row], out: Path, options: argparse.Namespace) -> list[str]:
    """Return what to do next."""
    said = []
    first, last = rows[0].score, rows[-1].score
    if first is None or last is None:
        said.append("it has no score here: compare its outputs with the original's on your own data, and train it on")
    elif last.value < first.value - 0.01:
        steps = max(2000, 2 * options.fine_tune)
        said.append(f"it lost {first.value - last.value:.3f}: --fine-tune {steps} trains it on; or take out less")
    if options.magnitude:
        said.append(
            "zeros take as much room and time as other weights; they pay in a compressed file or a sparse kernel"
        )
    said.append(
        f"try it: set model and runtime: torch at a node's start; or, where its allowed_models has it, "
        f"ros2 param set NODE model {shlex.quote(str(out.absolute()))}"
    )
    said.append(f"another format or precision: perf-inference build {shlex.quote(str(out))} --runtime onnx")
    return said


def _files(options: argparse.Namespace) -> tuple[Path, Path]:
    from perf_inference.engines.pytorch.checkpoint import SUFFIXES

    source = Path(find_model(options.model, "torch"))
    if source.suffix not in SUFFIXES:
        raise ConfigError(
            f"pruning takes a checkpoint ({', '.join(SUFFIXES)}), got '{source}'; prune that which it was exported from"
        )
    out: Path = options.out or Path(f"{source.stem}_pruned{source.suffix}")
    if out.suffix not in SUFFIXES or not out.absolute().parent.is_dir():
        raise ConfigError(f"--out must end in {', '.join(SUFFIXES)}, in a directory that is there, got '{out}'")
    if out.exists() and out.samefile(source):
        raise ConfigError(f"--out is the model itself, '{source}'; give it another name")
    if options.scenes < 1 or options.fine_tune < 0:
        raise ConfigError(
            f"--scenes must be at least 1 and --fine-tune at least 0, got {options.scenes}, {options.fine_tune}"
        )
    return source, out


def _unscored(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return the metadata without the scores of the model before it was pruned."""
    return {key: value for key, value in metadata.items() if key.partition("_")[0] not in _SCORES}


def _scored(score: Score | None) -> dict[str, str]:
    if score is None:
        return {}
    return {"score": f"{score.value:.4f}", "score_of": f"{score.name} of {score.samples}", "score_precision": "fp32"}


def _save(path: Path, checkpoint: Checkpoint, network: Architecture) -> None:
    """Write the checkpoint with this network's weights instead of its own, in the precision that those have."""
    from perf_inference.engines.pytorch.checkpoint import save_checkpoint

    weights = {name: value.to(checkpoint.weights[name].dtype) for name, value in network.module.state_dict().items()}
    save_checkpoint(path, checkpoint.architecture, weights, checkpoint.metadata)
