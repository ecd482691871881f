"""What `sim/episode` says of the simulated robot's episodes."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import orjson
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import String

from perf_inference.errors import InputError
from perf_inference.measure.record import is_count, short

EPISODE_QOS = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
_STATES, _ENDS = ("waiting", "running", "finished"), ("", "reached", "missed")
_LONGEST_S = 1e9  # of an episode


@dataclass(frozen=True)
class EpisodeState:
    """What `sim/episode` says."""

    index: int
    state: str  # waiting (for the first action) | running | finished (all episodes are over)
    started_ns: int  # system time
    reached: int  # targets of the episodes that are over
    finished: int  # episodes that are over
    last: str = ""  # what became of the episode before: reached | missed
    last_s: float = 0.0  # and how long it took [s]

    def message(self) -> String:
        return String(data=orjson.dumps(asdict(self)).decode())

    @classmethod
    def of(cls, message: String) -> EpisodeState:
        """Return what a message on `sim/episode` says.

        Raises:
            InputError: it says something else.
        """
        try:
            state = cls(**orjson.loads(message.data))
        except (orjson.JSONDecodeError, TypeError) as error:
            raise InputError(
                f"an episode must be JSON with EpisodeState's fields, got {short(message.data)}"
            ) from error
        counts = (state.index, state.started_ns, state.reached, state.finished)
        if not all(map(is_count, counts)) or state.state not in _STATES or state.last not in _ENDS:
            raise InputError(f"an episode must have counts, a state and an end as EpisodeState has them, got {state}")
        if not isinstance(state.last_s, int | float) or not 0 <= state.last_s < _LONGEST_S:
            raise InputError(f"an episode's last_s must be a time, got {short(state.last_s)}")
        return state
