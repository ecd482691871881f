"""The subscriptions of a contract: any installed message type, each topic once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage

from perf_inference.errors import ConfigError, InputError
from perf_inference.measure.ledger import Ledger
from perf_inference.measure.stamps import Arrival
from perf_inference.nodes.images.converter import to_bgr
from perf_inference.nodes.images.encodings import encoding_of, pixels
from perf_inference.nodes.images.raw_image import read_image
from perf_inference.nodes.ros.message_types import message_class
from perf_inference.nodes.ros.subscription import Input
from perf_inference.tasks.policy.contract.contract import Contract, Qos, Term
from perf_inference.tasks.policy.observing.used import Origin

RAW, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
_GID_BYTES = 8  # of the end of a gid: enough to tell publishers apart
Take = Callable[["Source", Arrival], str]


class Source(NamedTuple):
    """One topic, and the terms that it feeds."""

    name: str  # as the contract has it
    places: tuple[int, ...]  # of the terms in the contract
    terms: tuple[Term, ...]
    input: Input

    @property
    def required(self) -> bool:
        """Whether nothing stands in for it."""
        return any(term.stand_in is None for term in self.terms)

    @property
    def is_image(self) -> bool:
        return self.terms[0].is_image


def subscribe(
    node: Node, contract: Contract, transport: str, take: Take, unreadable: Callable[[str, InputError, bool], None]
) -> list[Source]:
    """Subscribe to all topics of a contract.

    Args:
        transport: of images: `raw`, or `compressed` (the topic with `/compressed`).
        take: called with each message; returns the outcome for the ledger, or raises InputError (ROS thread).
        unreadable: called by its topic for a message that cannot be used, and whether it is an image without pixels.

    Raises:
        ConfigError: a type that is not installed, or one topic with two types.
    """
    groups: dict[str, list[tuple[int, Term]]] = {}
    for place, term in enumerate(contract.observations):
        if term.source == "topic":
            groups.setdefault(term.topic, []).append((place, term))
    sources: list[Source] = []
    for topic, entries in groups.items():
        terms = [term for _, term in entries]
        if len({(term.type, term.qos) for term in terms}) > 1:
            raise ConfigError(f"{contract.where}: all observations of the topic {topic} must have one type and one qos")
        holder: list[Source] = []
        made = _input(node, topic, terms[0], transport, holder, take, unreadable)
        holder.append(Source(topic, tuple(place for place, _ in entries), tuple(terms), made))
        sources += holder
    return sources


def _input(
    node: Node, topic: str, term: Term, transport: str, holder: list[Source], take: Take,
    unreadable: Callable[[str, InputError, bool], None],
) -> Input:  # fmt: skip
    ledger, qos = Ledger(), _profile(term.qos)

    def arrived(arrival: Arrival) -> None:
        if not holder:  # a message that comes while the others are still made
            return
        ledger.count("received")
        outcome = "failed"
        try:
            outcome = take(holder[0], arrival)
        except InputError as error:
            outcome = "rejected"
            holder[0].input.refuse(error)
            unreadable(topic, error, False)
        finally:
            ledger.count(outcome)

    if term.type == RAW and transport == "raw":
        kind = message_class(RAW)
        return Input(node, kind, topic, arrived, ledger, qos, read=read_image,
                     unreadable=lambda error: unreadable(topic, error, True))  # fmt: skip
    if term.type == RAW:
        return Input(node, CompressedImage, node.resolve_topic_name(topic) + "/compressed", arrived, ledger, qos)
    return Input(node, message_class(term.type), topic, arrived, ledger, qos)


def decoder(term: Term, message: Any) -> Callable[[], Any]:
    """Return what makes pixels of an image message: BGR [H, W, 3], or the numbers of a depth image [H, W]."""
    if term.image is None or term.image.colour != "depth":
        return lambda: to_bgr(message)

    def depth() -> Any:
        encoding = {"16UC1": "mono16", "32FC1": None}.get(message.encoding, "")
        if encoding == "":
            raise InputError(f"a depth image must have the encoding 16UC1 or 32FC1, got '{message.encoding}'")
        if encoding is None:
            return _float_pixels(message)
        return pixels(message, encoding_of(encoding))[0]

    return depth


def origin_of(arrival: Arrival) -> Origin | None:
    """Return where a message comes from; None: this ROS 2 does not tell."""
    if arrival.sequence is None or arrival.published_ns is None:
        return None
    return Origin(arrival.publisher[-_GID_BYTES:].hex(), arrival.sequence, arrival.published_ns)


def _float_pixels(message: Any) -> Any:
    import numpy as np

    width, height, step = message.width, message.height, message.step
    data = np.frombuffer(message.data, np.uint8)
    if step < width * 4 or len(data) < height * step:
        raise InputError(f"a depth image of {width}x{height} px must have {height * width * 4} bytes, got {len(data)}")
    rows = data[: height * step].reshape(height, step)[:, : width * 4]
    kind = np.dtype(">f4" if message.is_bigendian else "<f4")
    return np.ascontiguousarray(rows).view(kind).astype(np.float32)


def _profile(qos: Qos) -> QoSProfile:
    return QoSProfile(
        depth=qos.depth,
        reliability=ReliabilityPolicy.RELIABLE if qos.reliability == "reliable" else ReliabilityPolicy.BEST_EFFORT,
        durability=(
            DurabilityPolicy.TRANSIENT_LOCAL if qos.durability == "transient_local" else DurabilityPolicy.VOLATILE
        ),
    )


def names_of(sources: Sequence[Source]) -> dict[str, str]:
    """Return the topics that must be fresh, by the contract's names."""
    return {source.name: source.input.topic for source in sources if source.required}
