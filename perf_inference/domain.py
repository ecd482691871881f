"""ROS domains: one that nobody on this machine uses."""

from __future__ import annotations

import os
import random
import socket

_PORT_BASE, _DOMAIN_GAIN, _FIRST_UNICAST = 7400, 250, 10  # DDSI-RTPS 9.6.1.1
_HIGHEST = 100  # domains up to 101 lie below Linux' ephemeral ports


def free_domain() -> int:
    """Return a domain from 1 to 100 whose first participant's discovery port is free on this machine.

    Raises:
        OSError: all are taken.
    """
    chooser = random.Random(os.getpid() ^ random.SystemRandom().getrandbits(32))
    for domain in chooser.sample(range(1, _HIGHEST + 1), _HIGHEST):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("", _PORT_BASE + _DOMAIN_GAIN * domain + _FIRST_UNICAST))
            except OSError:
                continue
        return domain
    raise OSError(f"all ROS domains from 1 to {_HIGHEST} are in use on this machine; set ROS_DOMAIN_ID yourself")
