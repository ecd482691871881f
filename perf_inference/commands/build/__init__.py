"""perf-inference build: a model's file for a runtime and a precision, and how the precisions compare."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from perf_inference.quantities import positive, whole

if TYPE_CHECKING:
    from perf_inference.model_build.converters.job import Shape

NEEDS_ROS = False
AUTO = "auto"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("model", metavar="MODEL", help="an embedded model's name, or a file")
    parser.add_argument(
        "--runtime",
        default=AUTO,
        help="onnx, torch, torchscript, torch_export, openvino, tensorrt (default: what the file is for)",
    )
    parser.add_argument("--precision", default=AUTO, help="fp32, fp16, bf16, int8 (default: as the file is)")
    parser.add_argument("--device", default=AUTO, help="cpu, cuda:N, dla:N, gpu:N, npu; what TensorRT builds for")
    parser.add_argument(
        "--shape",
        metavar="NAME=1,3,640,640",
        action="append",
        default=[],
        type=_shape,
        help="fix an input's free axes; TensorRT: an axis may have a range, 1..4 (fastest at 4) or 1..2..4 (at 2)",
    )
    parser.add_argument(
        "--workspace-mb", metavar="N", type=_count, help="TensorRT: memory of one layer (default: 1024)"
    )
    parser.add_argument(
        "--optimization-level", type=int, choices=range(6), help="TensorRT: 0 builds, 5 runs the quickest (default: 3)"
    )
    parser.add_argument(
        "--version-compatible",
        action="store_true",
        help="TensorRT: the plan runs on later versions; with --allow-pickle",
    )
    parser.add_argument(
        "--hardware-compatible", action="store_true", help="TensorRT: the plan runs on every GPU from Ampere on, slower"
    )
    parser.add_argument(
        "--image-size",
        "--picture",  # until the next release
        metavar="1920x1080",
        type=_size,
        help="take the camera's images of this size; resizing and normalisation run where the model runs",
    )
    parser.add_argument(
        "--calibration",
        metavar="FOLDER",
        help="for int8: .npz files with the inputs by name, or images; 'scenes': the demo's, for its models",
    )
    parser.add_argument("--out", type=Path, metavar="PATH", help="copy it there (default: it stays in the cache)")
    parser.add_argument(
        "--contract", type=Path, metavar="FILE", help="write this policy's contract into the model's metadata (.onnx)"
    )
    parser.add_argument("--force", action="store_true", help="build it again")
    parser.add_argument("--threads", type=whole, default=0, help="of one inference on a CPU (default: one per core)")
    parser.add_argument(
        "--python", default="", help="an interpreter that has LeRobot: what is exported is compared with it"
    )
    parser.add_argument("--architecture", default="", help="of a checkpoint that does not name its own")
    parser.add_argument(
        "--beams", type=whole, default=0, help="of a captioner's search, kept in its graph (default: 1)"
    )
    parser.add_argument("--max-tokens", type=whole, default=0, help="of a captioner's sentence (default: 20)")
    parser.add_argument("--allow-pickle", action="store_true", help="the checkpoint may run code while it is read")
    parser.add_argument(
        "--compare", action="store_true", help="a table of all precisions: size, memory, latency, difference, score"
    )
    parser.add_argument("--scenes", type=positive, default=200, help="with --compare: held-out scenes to score on")
    parser.add_argument("--pruned", metavar="PATH", help="with --compare: the same model, pruned")
    parser.add_argument("--json", type=Path, metavar="PATH", help="with --compare: write the figures there too")


def run(arguments: argparse.Namespace) -> int:
    """Build one file, or compare all precisions."""
    from perf_inference.commands.build import model  # numpy and the models' tasks load only when they are used

    return model.run(arguments)


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise argparse.ArgumentTypeError(f"must be WIDTHxHEIGHT, 1920x1080, got '{text}'")
    return int(width), int(height)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number above 0, got '{text}'")
    return int(text)


def _shape(text: str) -> tuple[str, Shape]:
    """Return an input's name, and its shape or the range of it."""
    from perf_inference.model_build.converters.job import Range

    name, _, lengths = text.partition("=")
    axes = [axis.split("..") for axis in lengths.split(",")]
    if not name or not all(1 <= len(axis) <= 3 and all(map(str.isdecimal, axis)) for axis in axes):
        raise argparse.ArgumentTypeError(f"must be NAME=1,3,640,640, or NAME=1..4,3,640,640, got '{text}'")
    numbers = [[int(length) for length in axis] for axis in axes]
    if any(axis[0] < 1 or axis != sorted(axis) for axis in numbers):
        raise argparse.ArgumentTypeError(f"an axis must be above 0, and a range must rise, got '{text}'")
    least, most = (tuple(axis[end] for axis in numbers) for end in (0, -1))
    usual = tuple(axis[len(axis) // 2] for axis in numbers)  # the one in the middle of three, the greater of two
    return name, least if least == most else Range(least, usual, most)
