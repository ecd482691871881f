"""The message types that services and actions are made of: requests, responses, events, goals (rosidl's names)."""

from __future__ import annotations

import re
from collections.abc import Callable

from perf_inference.recording.cdr.declared import Declared, DefinitionError

_PARTS = {"srv": ("_Request", "_Response"), "action": ("_Goal", "_Result", "_Feedback")}
_DIVIDER = re.compile(r"^---[ \t]*$", re.MULTILINE)
_OF_SERVICE = re.compile(r"(.+?)(?:_Request|_Response|_Event)", re.ASCII)
_OF_ACTION = re.compile(
    r"(.+?)_(?:Goal|Result|Feedback|FeedbackMessage|(?:SendGoal|GetResult)_(?:Request|Response|Event))", re.ASCII
)
_TIME = "builtin_interfaces/msg/Time"
_UUID = "unique_identifier_msgs/msg/UUID"
_EVENT_INFO = "service_msgs/msg/ServiceEventInfo"
_GOAL_ID = Declared("goal_id", _UUID)

KNOWN = {
    # some writers leave these out
    _TIME: [Declared("sec", "int32"), Declared("nanosec", "uint32")],
    "builtin_interfaces/msg/Duration": [Declared("sec", "int32"), Declared("nanosec", "uint32")],
    _UUID: [Declared("uuid", "uint8", many="array", size=16)],
    _EVENT_INFO: [
        Declared("event_type", "uint8"),
        Declared("stamp", _TIME),
        Declared("client_gid", "uint8", many="array", size=16),
        Declared("sequence_number", "int64"),
    ],
}
"""What these types use."""


def is_divided(text: str) -> bool:
    """Return whether a text is a service's or an action's: it has a line `---`."""
    return _DIVIDER.search(text) is not None


def interface_of(type_name: str) -> str:
    """Return the service or action of which a message type is a part: `std_srvs/srv/SetBool` of `..._Event`.

    Raises:
        DefinitionError: it is a part of none.
    """
    kind = type_name.split("/")[1] if type_name.count("/") == 2 else ""
    found = {"srv": _OF_SERVICE, "action": _OF_ACTION}.get(kind, re.compile("(?!)")).fullmatch(type_name)
    if found is None:
        raise DefinitionError(f"a text with '---' must be of a service or an action, {type_name[:100]} is none's")
    return found[1]


def parts(name: str, text: str, fields: Callable[[str, str], list[Declared]]) -> dict[str, list[Declared]]:
    """Return the fields of each part of a service's or an action's text.

    Raises:
        DefinitionError: it has not as many parts as it must.
    """
    ends = _PARTS["srv" if name.split("/")[1] == "srv" else "action"]
    texts = _DIVIDER.split(text)
    if len(texts) != len(ends):
        raise DefinitionError(
            f"the text of {name[:100]} must have {len(ends)} parts with '---' between, has {len(texts)}"
        )
    return {name + end: fields(name + end, part) for end, part in zip(ends, texts, strict=True)}


def derived(declared: dict[str, list[Declared]]) -> dict[str, list[Declared]]:
    """Return the types that rosidl makes of those that are declared: an action's messages and services, events."""
    made: dict[str, list[Declared]] = {}
    for goal in [name for name in declared if name.endswith("_Goal")]:
        action = goal.removesuffix("_Goal")
        made |= {
            f"{action}_SendGoal_Request": [_GOAL_ID, Declared("goal", goal)],
            f"{action}_SendGoal_Response": [Declared("accepted", "bool"), Declared("stamp", _TIME)],
            f"{action}_GetResult_Request": [_GOAL_ID],
            f"{action}_GetResult_Response": [Declared("status", "int8"), Declared("result", f"{action}_Result")],
            f"{action}_FeedbackMessage": [_GOAL_ID, Declared("feedback", f"{action}_Feedback")],
        }
    for request in [name for name in (*declared, *made) if name.endswith("_Request")]:
        service = request.removesuffix("_Request")
        made[f"{service}_Event"] = [
            Declared("info", _EVENT_INFO),
            Declared("request", request, many="sequence", size=1),
            Declared("response", f"{service}_Response", many="sequence", size=1),
        ]
    return made
