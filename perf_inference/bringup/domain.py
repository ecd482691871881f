"""ROS domains: which the environment names, and one that nobody on this machine uses."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Mapping

from perf_inference.errors import ConfigError
from perf_inference.printable import shown

_PORT_BASE, _DOMAIN_GAIN, _FIRST_UNICAST = 7400, 250, 10  # DDSI-RTPS 9.6.1.1
_HIGHEST = 100  # domains up to 101 lie below Linux' ephemeral ports
_LAST = 232  # whose ports are numbers of ports
_reserved: list[int] = []  # file descriptors of what says to other processes that the domain is spoken for


def check_domain(environment: Mapping[str, str]) -> None:
    """Look whether the environment's domain is one.

    Raises:
        ConfigError: it is not.
    """
    said = environment.get("ROS_DOMAIN_ID", "").strip()
    if said and not (said.isascii() and said.isdecimal() and len(said) < 5 and int(said) <= _LAST):
        raise ConfigError(
            f"ROS_DOMAIN_ID must be a whole number from 0 to {_LAST}, got '{shown(said, 40)}'; export ROS_DOMAIN_ID=0"
        )


def free_domain() -> int:
    """Return a domain from 1 to 100 whose first participant's discovery port is free on this machine.

    It is this process' until it asks for another or ends: two that ask at once get two.

    Raises:
        OSError: all are taken.
    """
    while _reserved:
        os.close(_reserved.pop())
    chooser = random.Random(os.getpid() ^ random.SystemRandom().getrandbits(32))
    for domain in chooser.sample(range(1, _HIGHEST + 1), _HIGHEST):
        if _is_free(domain) and _reserve(domain):
            return domain
    raise OSError(f"all ROS domains from 1 to {_HIGHEST} are in use on this machine; set ROS_DOMAIN_ID yourself")


def _is_free(domain: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("", _PORT_BASE + _DOMAIN_GAIN * domain + _FIRST_UNICAST))
        except OSError:
            return False
    return True


def _reserve(domain: int) -> bool:
    mark = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        mark.bind(f"\0perf_inference/domain/{domain}")  # an abstract name: gone with the process
    except OSError:
        mark.close()
        return False
    _reserved.append(mark.detach())
    return True
