"""The settings are added, and never put over the user's."""

from __future__ import annotations

from perf_inference.environment import ALLOCATOR, TRANSPORT, describe, tuned


def test_missing_settings_are_added() -> None:
    assert tuned({"HOME": "/"}) == {"HOME": "/", **TRANSPORT, **ALLOCATOR}
    assert "FASTDDS_BUILTIN_TRANSPORTS=DEFAULT?sockets_size=8MB" in describe({})


def test_what_the_user_has_set_stays() -> None:
    own = {"FASTRTPS_DEFAULT_PROFILES_FILE": "/mine.xml", "MALLOC_TRIM_THRESHOLD_": "1"}
    assert tuned(own) == own
    assert describe(own) == "transport and allocator: as you have set them"
