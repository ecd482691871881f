"""perf-inference predict: what a model finds in images, videos, recordings or sound, and what a policy does."""

from __future__ import annotations

import argparse
from pathlib import Path

from perf_inference.commands.help import KeptLines
from perf_inference.commands.predict import captions, sounds
from perf_inference.quantities import whole
from perf_inference.tasks.vision.found import KINDS
from perf_inference.tasks.vision.outputs.head import LAYOUTS

NEEDS_ROS = False
AUTO = "auto"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.formatter_class = KeptLines
    parser.add_argument("model", metavar="MODEL", help="an embedded model's name, a file, or a remote model's address")
    parser.add_argument(
        "inputs",
        metavar="INPUT",
        nargs="+",
        help="images, folders or patterns of them, videos, recordings, or files of sound",
    )
    parser.add_argument(
        "--contract",
        type=Path,
        metavar="FILE",
        help="of a policy (default: what the model carries); INPUT is a recording",
    )
    parser.add_argument("--json", metavar="FILE", help="write what was found there, - : to the standard output")
    parser.add_argument("--save", type=Path, metavar="DIR", help="write the images there, with what was found drawn")
    parser.add_argument("--confidence", type=_share, default=0.25, help="scores above it count (default: 0.25)")
    parser.add_argument("--iou", type=_share, default=0.7, help="boxes that overlap more are one (default: 0.7)")
    parser.add_argument("--classes", default="", metavar="0,2", help="only these, by number or name")
    parser.add_argument("--top", type=_count, default=5, help="classes of a classifier (default: 5)")
    parser.add_argument("--max-detections", type=_count, default=300, help="of an image, best first (default: 300)")
    parser.add_argument("--agnostic", action="store_true", help="boxes that overlap are one whatever their classes")
    parser.add_argument("--kind", choices=(AUTO, *KINDS), default=AUTO, help="of the model (default: it says itself)")
    parser.add_argument(
        "--layout",
        choices=LAYOUTS,
        default=AUTO,
        metavar="NAME",
        help=f"of its outputs: {', '.join(LAYOUTS)} (default: by their shapes)",
    )
    parser.add_argument(
        "--names", default="", metavar="FILE", help="of the classes: .txt, .yaml, or a,b,c (default: the model's)"
    )
    parser.add_argument("--keypoints", default="", metavar="17x3", help="of a pose, and numbers of each")
    parser.add_argument(
        "--image",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="how images are prepared where the model's origin is not known: fit, colour, scale, mean, std, fill, "
        "size, interpolation; lists as 0.5,0.5,0.5",
    )
    parser.add_argument("--input-size", type=_count, default=640, help="of a model that leaves it free (default: 640)")
    parser.add_argument("--topic", default="", help="of a recording with several image topics")
    captions.add_arguments(parser)
    sounds.add_arguments(parser)
    parser.add_argument("--runtime", default=AUTO, help="what runs the model (default: by the file)")
    parser.add_argument("--precision", default=AUTO, help="fp32, fp16, bf16, int8 (default: as the file is)")
    parser.add_argument("--device", default=AUTO, help="cpu, cuda:N, dla:N, gpu:N, npu")
    parser.add_argument("--threads", type=whole, default=0, help="of one inference on a CPU (default: one per core)")
    parser.add_argument("--architecture", default="", help="of a checkpoint that does not name its own")
    parser.add_argument("--allow-pickle", action="store_true", help="the checkpoint may run code while it is read")
    parser.epilog = (
        "exit status:\n"
        "  0  done\n"
        "  1  there is nothing at an input, or nothing could be read\n"
        "  3  done in part: some inputs could not be read\n"
        "  78 the model or an option does not fit"
    )


def run(options: argparse.Namespace) -> int:
    """Predict; return the status."""
    from perf_inference.commands.predict import policy, prediction  # OpenCV and the runtimes load when they are used

    if (contract := policy.contract_for(options)) is not None:
        return policy.run(options, contract)
    return prediction.run(options)


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to 1, got '{text}'")
    return value


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number above 0, got '{text}'")
    return int(text)
