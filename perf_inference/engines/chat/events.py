"""Server-sent events of an OpenAI-compatible server, and what a chat's events say.

https://html.spec.whatwg.org/multipage/server-sent-events.html, https://platform.openai.com/docs/api-reference/chat-streaming
"""

from __future__ import annotations

from collections.abc import Iterator
from http.client import HTTPResponse
from typing import Any, NamedTuple

import orjson

LONGEST_LINE = 1 << 20  # bytes
LONGEST_TEXT = 1 << 20  # characters, of an answer
_END = "[DONE]"


class Piece(NamedTuple):
    """What one event says."""

    text: str
    finished: bool = False  # the server says that the answer is whole
    tokens: int | None = None  # that it has made


class ServerError(Exception):
    """The server says that it failed; its own words."""


def pieces(answer: HTTPResponse) -> Iterator[Piece]:
    """Yield the pieces of a streamed answer as they come.

    Raises:
        ValueError: it is no such stream.
        ServerError: the server tells of an error in it.
    """
    length = 0
    for data in _events(answer):
        if data.strip() == _END:
            yield Piece("", True)
            return
        piece = piece_of(_object(data), "delta")
        length += len(piece.text)
        if length > LONGEST_TEXT:
            raise ValueError(f"an answer must have at most {LONGEST_TEXT} characters")
        yield piece


def whole(body: bytes) -> Piece:
    """Return the answer of a server that does not stream.

    Raises:
        ValueError: it is none.
        ServerError: the server tells of an error.
    """
    return piece_of(_object(body.decode(errors="replace")), "message")._replace(finished=True)


def piece_of(content: dict[str, Any], place: str) -> Piece:
    """Return what an object says whose text stands in `choices[0].delta` or `.message`."""
    if error := content.get("error"):
        raise ServerError(str(error.get("message", error) if isinstance(error, dict) else error))
    usage = content.get("usage")
    tokens = usage.get("completion_tokens") if isinstance(usage, dict) else None
    tokens = tokens if type(tokens) is int and tokens >= 0 else None
    choices = content.get("choices")
    if not isinstance(choices, list):
        raise ValueError(f"an event must have 'choices', got {sorted(map(str, content))[:5]}")
    choice = choices[0] if choices else {}  # the last one, of the usage, has none
    said = choice.get(place) if isinstance(choice, dict) else None
    text = said.get("content") if isinstance(said, dict) else None
    if not isinstance(text, str | None):
        raise ValueError(f"'content' must be a text, got {type(text).__name__}")
    finished = isinstance(choice, dict) and choice.get("finish_reason") is not None
    return Piece(text or "", finished, tokens)


def _events(answer: HTTPResponse) -> Iterator[str]:
    data: list[str] = []
    while line := answer.readline(LONGEST_LINE + 1):
        if len(line) > LONGEST_LINE:
            raise ValueError(f"a line of events must have at most {LONGEST_LINE} bytes")
        text = line.decode(errors="replace").rstrip("\r\n")
        if not text and data:
            yield "\n".join(data)
            data = []
        elif text.startswith("data:"):
            data.append(text[5:].removeprefix(" "))
        elif text and not text.startswith((":", "event:", "id:", "retry:")):
            raise ValueError(f"a stream of events must have lines of 'data:', got {text[:80]!r}")
    if data:
        yield "\n".join(data)


def _object(text: str) -> dict[str, Any]:
    try:
        content = orjson.loads(text)
    except ValueError as error:
        raise ValueError(f"an event must be JSON, got {text[:80]!r}") from error
    if not isinstance(content, dict):
        raise ValueError(f"an event must be a JSON object, got {text[:80]!r}")
    return content
