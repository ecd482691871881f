"""What a ROS middleware (RMW) needs to carry images: environment variables, and for some a profile in a file.

Fast DDS: a stock segment of shared memory (512 kB) cannot hold an image; its publishers need a larger one. From 2.14
on a variable says so. Before, and wherever rmw_fastrtps replaces the built-in transports by its own (discovery on this
host only), a profile does: rmw_fastrtps appends its transports to those of the default profile, and of two for shared
memory the first one sends. From another host an image comes in one burst, which a stock socket of the receiver cannot
hold: a profile with a larger one. Only what was measured is called so: Fast DDS 3.

Every profile has participants tell of themselves more often: one of Fast DDS announces itself before it listens
(RTPSParticipantImpl::enable), misses the answers of those who were there before, and waits for what they tell next. Of
a stock one that is 3 s later.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from perf_inference.files.private import is_own_file, own_folder, replace_file

SEGMENT_PER_SOCKET = 2.1  # Fast DDS makes the segment twice as large as the sockets, plus its book-keeping
_MB = 1 << 20
_SIZES_MB = (16, 8)  # where nobody knows the images: 3840x2160 fits into what 16 makes, 1920x1080 into 8
_LEAST_MB = 2
HELD = 4  # images that a segment should hold: readers that are late have not taken them yet
_SPARE = 3  # publishers that a large segment must leave room for
_LEAST_SOCKET_BYTES = 65_500  # a fragment: below, no transport over UDP comes up at all
_PROFILE_ONLY = ("humble", "iron")  # Fast DDS 2.6 and 2.10: the variable is unknown, or has no options
_FAST_DDS_2 = (*_PROFILE_ONLY, "jazzy")
_OWN_FAST_DDS = ("FASTDDS_BUILTIN_TRANSPORTS", "FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
_OUR_FILE = re.compile(r"fastdds_(discovery|publisher|receiver|this_host)(_\d+MB)?\.xml")
_OWN_PROFILES = ("DEFAULT_FASTRTPS_PROFILES.xml", "DEFAULT_FASTDDS_PROFILES.xml")  # read from the working directory
CYCLONE = (
    '<CycloneDDS><Domain><Internal><SocketReceiveBufferSize max="8MB"/></Internal></Domain></CycloneDDS>'  # no minimum
)
ZENOH = "transport/shared_memory/enabled=true"
_DISCOVERY = """   <builtin><discovery_config>
    <leaseAnnouncement><sec>1</sec></leaseAnnouncement>
    <initialAnnouncements><count>30</count><period><nanosec>100000000</nanosec></period></initialAnnouncements>
   </discovery_config></builtin>
"""  # stock: 5 within half a second, then one in 3 s


class Setting(NamedTuple):
    """What a process is given for its middleware."""

    variables: Mapping[str, str]  # of publishers of images
    others: Mapping[str, str]  # of all other processes
    remark: str = ""  # what the user has to know of it, or why there is none


class KernelLimits(NamedTuple):
    """What the machine allows; None: it does not say."""

    shared_free_bytes: int | None
    socket_bytes: int | None

    @classmethod
    def read(cls, shm: Path = Path("/dev/shm"), net: Path = Path("/proc/sys/net/core")) -> KernelLimits:
        """Return this machine's."""
        free = sockets = None
        with contextlib.suppress(OSError):
            space = os.statvfs(shm)
            free = space.f_bavail * space.f_frsize
        with contextlib.suppress(OSError, ValueError):
            sockets = min(int((net / name).read_text()) for name in ("rmem_max", "wmem_max"))
        return cls(free, sockets)


def transport(
    environment: Mapping[str, str], publishers: int = 1, limits: KernelLimits | None = None, image_bytes: int = 0
) -> Setting:
    """Return what publishers of images need in this environment; nothing where the user has set it.

    Args:
        publishers: how many will be started with it.
        limits: of the machine; None: read them.
        image_bytes: the size of an image that it is for; 0: not known.
    """
    rmw = environment.get("RMW_IMPLEMENTATION") or "rmw_fastrtps_cpp"
    if rmw.startswith("rmw_fastrtps"):
        return _fast_dds(environment, publishers, limits or KernelLimits.read(), image_bytes)
    if rmw == "rmw_cyclonedds_cpp":
        return _everyone(environment, "CYCLONEDDS_URI", CYCLONE)
    if rmw == "rmw_zenoh_cpp":
        return _everyone(environment, "ZENOH_CONFIG_OVERRIDE", ZENOH, "ZENOH_SESSION_CONFIG_URI")
    return Setting({}, {}, f"nothing is known to help {rmw}")


def _everyone(environment: Mapping[str, str], name: str, value: str, *others: str) -> Setting:
    own = next((n for n in (name, *others) if n in environment), None)
    if own:
        return Setting({}, {}, f"{own} as you have set it")
    return Setting({name: value}, {name: value}, "from its documentation, not measured")


def _fast_dds(environment: Mapping[str, str], publishers: int, limits: KernelLimits, image_bytes: int) -> Setting:
    own = next((name for name in _OWN_FAST_DDS if name in environment), None)
    if own:
        return Setting({}, {}, f"{own} as you have set it")
    files = [name for name in _OWN_PROFILES if Path(name).is_file()]
    if files and environment.get("SKIP_DEFAULT_XML") != "1":
        return Setting({}, {}, f"as your {files[0]} has it")
    if limits.socket_bytes is not None and limits.socket_bytes < _LEAST_SOCKET_BYTES:
        return Setting(
            {}, {}, f"stock, because a fragment of {_LEAST_SOCKET_BYTES} bytes does not fit into a socket of "
            f"{limits.socket_bytes}: sudo sysctl -w net.core.rmem_max=8388608 net.core.wmem_max=8388608",
        )  # fmt: skip
    size_mb = _affordable_mb(publishers, limits.shared_free_bytes, image_bytes)
    if size_mb is None:
        needed_mb = round(publishers * _SIZES_MB[-1] * SEGMENT_PER_SOCKET)
        free_mb = (limits.shared_free_bytes or 0) // _MB
        return Setting(
            {}, {}, f"stock, because {publishers} publishers of images need {needed_mb} MB of /dev/shm and {free_mb} "
            "are free: mount -o remount,size=256M /dev/shm (docker run --shm-size=256m)",
        )  # fmt: skip
    usual_mb = _affordable_mb(publishers, limits.shared_free_bytes, 0) or _SIZES_MB[-1]
    return _sized(environment, size_mb, usual_mb)


def _sized(environment: Mapping[str, str], size_mb: int, receiver_mb: int) -> Setting:
    distribution = environment.get("ROS_DISTRO", "")
    here = this_host_only(environment)
    name = _profile_variable(environment)
    remark = "not measured with Fast DDS 2" if distribution in _FAST_DDS_2 else ""
    try:
        if here:
            others = {name: str(write_profile(environment, "discovery"))}
        else:
            others = {name: str(write_profile(environment, "receiver", receiver_mb))}
        if not here and distribution not in _PROFILE_ONLY:
            variables = {
                "FASTDDS_BUILTIN_TRANSPORTS": f"DEFAULT?sockets_size={size_mb}MB",
                name: str(write_profile(environment, "discovery")),
            }
            return Setting(variables, others, remark)
        kind = "this_host" if here else "publisher"
        return Setting({name: str(write_profile(environment, kind, size_mb))}, others, remark)
    except OSError as error:
        return Setting({}, {}, f"stock, because its profile cannot be written: {error.filename}: {error.strerror}")


def _profile_variable(environment: Mapping[str, str]) -> str:
    """Return the variable that names the profiles' file."""
    old = environment.get("ROS_DISTRO", "") in _FAST_DDS_2
    return "FASTRTPS_DEFAULT_PROFILES_FILE" if old else "FASTDDS_DEFAULT_PROFILES_FILE"


def without_shared_memory(environment: Mapping[str, str], found_soon: bool = True) -> dict[str, str]:
    """Return an environment for a process that must never hold up others, nor be held up: what it sends is small.

    A process that is stopped or killed while it holds the lock of a port in shared memory holds up for seconds whoever
    sends to that port (seen with Fast DDS 3). What the user has set stays, and so does what is no Fast DDS of 2.14 on.

    Args:
        found_soon: others find it as soon as our other processes.
    """
    own = {name: value for name, value in environment.items() if name not in _OWN_FAST_DDS or not is_ours(value)}
    fast_dds = (environment.get("RMW_IMPLEMENTATION") or "rmw_fastrtps").startswith("rmw_fastrtps")
    if not fast_dds or any(name in own for name in _OWN_FAST_DDS):
        return own
    if environment.get("ROS_DISTRO", "") not in _PROFILE_ONLY and not this_host_only(environment):
        own["FASTDDS_BUILTIN_TRANSPORTS"] = "UDPv4"
    if found_soon:
        with contextlib.suppress(OSError):
            own[_profile_variable(environment)] = str(write_profile(environment, "discovery"))
    return own


def is_ours(value: str) -> bool:
    """Return whether a setting of Fast DDS is one that this module, or `config/camera_env.sh`, makes."""
    folder = Path(value).parent.name
    ours = folder == "config" or folder.startswith("perf_inference")
    return value.startswith("DEFAULT?sockets_size=") or (ours and _OUR_FILE.fullmatch(Path(value).name) is not None)


def _sockets_mb(image_bytes: int) -> int:
    """Return the size of sockets [MB] with which a segment holds a few images of this size, or the usual one.

    A larger one than that has lost more: of 30 images of 3840x2160 at 10 Hz, reliable, 15 to 18 came through a segment
    of 100 MB and all through one of 33 (load 18 to 21 on two cores).
    """
    return min(_SIZES_MB[0], max(_LEAST_MB, math.ceil(HELD * image_bytes / (2 * _MB))))


def _affordable_mb(publishers: int, free_bytes: int | None, image_bytes: int) -> int | None:
    wanted = _sockets_mb(image_bytes) if image_bytes else _SIZES_MB[0]
    sizes = (wanted, *(size for size in _SIZES_MB if size < wanted))
    if free_bytes is None:
        return min(sizes)
    for size_mb in sizes:
        count = max(publishers, _SPARE) if size_mb > _SIZES_MB[-1] else publishers
        if count * size_mb * SEGMENT_PER_SOCKET * _MB <= free_bytes:
            return size_mb
    return None


def this_host_only(environment: Mapping[str, str]) -> bool:
    """Return whether discovery is confined to this host, where rmw_fastrtps makes transports of its own."""
    if environment.get("ROS_DISTRO") == "humble" or "ROS_AUTOMATIC_DISCOVERY_RANGE" not in environment:
        return environment.get("ROS_LOCALHOST_ONLY") == "1"
    return environment["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST" or environment.get("ROS_LOCALHOST_ONLY") == "1"


def profile(kind: str, size_mb: int = 0) -> str:
    """Return a default profile of Fast DDS.

    Args:
        kind: `publisher` has a shared memory of twice `size_mb` and UDP sockets of `size_mb` in place of the built-in
            transports; `receiver` has such sockets only, and stock shared memory; `this_host` has the shared memory
            before what rmw_fastrtps adds; `discovery` has none of them. All tell of themselves as `discovery` does.
    """
    if kind == "discovery":
        return _profile("", _DISCOVERY, "found soon")
    size_bytes = size_mb * _MB
    segment = "" if kind == "receiver" else f"<segment_size>{2 * size_bytes}</segment_size>"
    udp, used, builtin = "", "<transport_id>perf_inference_shm</transport_id>", ""
    if kind != "this_host":
        udp = f"""
  <transport_descriptor>
   <transport_id>perf_inference_udp</transport_id><type>UDPv4</type>
   <sendBufferSize>{size_bytes}</sendBufferSize><receiveBufferSize>{size_bytes}</receiveBufferSize>
  </transport_descriptor>"""
        used += "<transport_id>perf_inference_udp</transport_id>"
        builtin = "\n   <useBuiltinTransports>false</useBuiltinTransports>"
    transports = f"""
 <transport_descriptors>
  <transport_descriptor>
   <transport_id>perf_inference_shm</transport_id><type>SHM</type>{segment}
  </transport_descriptor>{udp}
 </transport_descriptors>"""
    chosen = f"   <userTransports>{used}</userTransports>{builtin}\n"
    return _profile(transports, f"{chosen}{_DISCOVERY}", "room for images, and found soon")


def _profile(transports: str, rtps: str, what_for: str) -> str:
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<!-- Written by perf_inference: {what_for}. PERF_INFERENCE_TUNING=off leaves it out. -->
<dds xmlns="http://www.eprosima.com"><profiles>{transports}
 <participant profile_name="perf_inference" is_default_profile="true">
  <rtps>
{rtps}  </rtps>
 </participant>
</profiles></dds>
"""


def write_profile(environment: Mapping[str, str], kind: str, size_mb: int = 0) -> Path:
    """Write a profile into the user's cache, or where that cannot be into a folder of the user's in /tmp; return it.

    Raises:
        OSError: neither can be written.
    """
    name, text = f"fastdds_{kind}{f'_{size_mb}MB' if size_mb else ''}.xml", profile(kind, size_mb)
    cache = environment.get("XDG_CACHE_HOME") or (Path(environment["HOME"]) / ".cache" if "HOME" in environment else "")
    if cache:
        with contextlib.suppress(OSError):
            return _written(Path(cache) / "perf_inference", name, text)
    import tempfile  # 8 ms, in every process

    return _written(Path(tempfile.gettempdir()) / f"perf_inference_{os.getuid()}", name, text)


def _written(folder: Path, name: str, text: str) -> Path:
    file = own_folder(folder) / name  # anybody can make folders, and links, in /tmp
    with contextlib.suppress(OSError, UnicodeDecodeError):
        if is_own_file(file) and file.read_text(encoding="utf-8") == text:
            return file
    replace_file(file, text.encode())  # whole or not at all: another start may be reading it
    return file
