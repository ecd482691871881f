"""Processes as /proc shows them: those that take part in a ROS graph, and what each process has used.

A process takes part when it has an RMW mapped. Which Fast DDS segment and which ports are its own is told by the lock
files that it holds open; its domain by its ports (DDSI-RTPS 9.6.1.1), and by its environment where it has none.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_RMW = re.compile(r"/lib(rmw_(?!implementation|dds_common|security|fastrtps_shared|connextdds_common)\w+?)\.so")
_SEGMENT_LOCK = re.compile(r"(.*/fastdds_[0-9a-f]{16})_el$")
_PORT_LOCK = re.compile(r"/fastdds_port(\d+)_el$")
_PORT_BASE, _DOMAIN_GAIN, _FIRST_UNICAST = 7400, 250, 10
_INTERPRETER = re.compile(r"python[\d.]*$")
_TELLING = re.compile(
    r"ROS_|RMW_|FASTDDS_|FASTRTPS_|CYCLONEDDS_|ZENOH_|SKIP_DEFAULT_XML|MALLOC_|LD_PRELOAD|GLIBC_TUNABLES|PERF_INF"
)


@dataclass(frozen=True)
class Participant:
    """A process with an RMW."""

    pid: int
    name: str
    rmw: str
    domain: int
    segment_bytes: int | None = None  # of its own in shared memory; None: it has none
    environment: Mapping[str, str] | None = None  # as it was started, what concerns ROS and memory; None: not readable

    def __str__(self) -> str:
        return f"{self.name} (pid {self.pid})"


@dataclass(frozen=True)
class Participants:
    """Those of one domain on this machine."""

    domain: int
    here: tuple[Participant, ...] = ()
    elsewhere: int = 0  # in other domains, or networks (of containers)
    unreadable: int = 0  # processes of other users, which may be participants

    def of_pid(self, low_bits: int | None) -> Participant | None:
        """Return the one whose pid has these lower 16 bits."""
        return next((one for one in self.here if low_bits is not None and one.pid & 0xFFFF == low_bits), None)


@dataclass(frozen=True)
class Usage:
    """What a process has used since its start."""

    cpu_ticks: int
    minor_faults: int
    started_ticks: int  # after the machine: a pid that was given again has another
    shared_pages: int = 0  # of files and shared memory that it has touched


def own_domain(environment: Mapping[str, str] = os.environ) -> int:
    """Return the domain of this process."""
    text = environment.get("ROS_DOMAIN_ID", "").strip()
    return int(text) if text.isdecimal() else 0


def participants(domain: int, proc: Path = Path("/proc"), leave_out: frozenset[int] = frozenset()) -> Participants:
    """Return those of a domain."""
    here: list[Participant] = []
    elsewhere = unreadable = 0
    for pid in _pids(proc):
        if pid in leave_out:
            continue
        try:
            found = _participant(proc / str(pid), pid)
        except PermissionError:
            unreadable += 1
        except OSError:  # it has gone
            pass
        else:
            if found is not None:
                near = found.domain == domain and _network(proc / str(pid)) in (None, _network(Path("/proc/self")))
                here += [found] if near else []
                elsewhere += not near
    return Participants(domain, tuple(here), elsewhere, unreadable)


def usages(proc: Path = Path("/proc")) -> dict[int, Usage]:
    """Return what each process has used so far."""
    found = {}
    for pid in _pids(proc):
        with suppress(OSError, IndexError, ValueError):
            folder = proc / str(pid)
            shared = int((folder / "statm").read_text().split()[2])
            found[pid] = parse_stat((folder / "stat").read_text(encoding="utf-8", errors="replace"), shared)
    return found


def parse_stat(text: str, shared_pages: int = 0) -> Usage:
    """Return what /proc/PID/stat says; the command in it may hold blanks and brackets."""
    fields = text.rpartition(")")[2].split()  # from field 3 of proc(5) on
    return Usage(int(fields[11]) + int(fields[12]), int(fields[7]), int(fields[19]), shared_pages)


def title(proc: Path, pid: int) -> str:
    """Return a short name of a process: its module, script or program."""
    try:
        words = (proc / str(pid) / "cmdline").read_bytes().decode(errors="replace").split("\0")
        name = (proc / str(pid) / "comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return "?"
    return title_of([word for word in words if word]) or f"[{name}]"


def title_of(words: list[str]) -> str:
    """Return a short name for a command line."""
    for word in words:
        if word.startswith("__node:="):
            return word.partition(":=")[2]
    if not words:
        return ""
    if not _INTERPRETER.search(words[0]):
        return os.path.basename(words[0])
    rest = iter(words[1:])
    for word in rest:
        if word == "-m":
            return next(rest, "python").rpartition(".")[2]
        if word == "-c":
            return "python -c"
        if not word.startswith("-"):
            return os.path.basename(word)
    return os.path.basename(words[0])


def _participant(folder: Path, pid: int) -> Participant | None:
    rmw = _rmw((folder / "maps").read_text(encoding="utf-8", errors="replace"))
    if rmw is None:
        return None
    environment = _environment(folder)
    segment_bytes, ports = None, []
    for link in _open_files(folder):
        segment, port = _SEGMENT_LOCK.match(link), _PORT_LOCK.search(link)
        if segment:
            with suppress(OSError):  # another's mount: /proc/PID/root leads there
                size = (folder / "root" / segment[1].lstrip("/")).stat().st_size
                segment_bytes = max(size, segment_bytes or 0)
        elif port:
            ports.append(int(port[1]))
    domain = domain_of(ports)
    if domain is None:
        domain = own_domain(environment or {})
    return Participant(pid, title(folder.parent, pid), rmw, domain, segment_bytes, environment)


def _network(folder: Path) -> str | None:
    """Return the network namespace of a process; None: not shown."""
    try:
        return os.readlink(folder / "ns/net")
    except OSError:
        return None


def domain_of(ports: list[int]) -> int | None:
    """Return the domain of a participant that listens on these ports; None: they do not tell."""
    for port in ports:
        domain, place = divmod(port - _PORT_BASE, _DOMAIN_GAIN)
        if port >= _PORT_BASE and place >= _FIRST_UNICAST:
            return domain
    return None


def _rmw(maps: str) -> str | None:
    found = _RMW.search(maps)
    return found[1] if found else None


def _environment(folder: Path) -> dict[str, str] | None:
    try:
        text = (folder / "environ").read_bytes().decode(errors="replace")
    except OSError:
        return None
    pairs = (pair.partition("=") for pair in text.split("\0"))
    return {name: value for name, _, value in pairs if _TELLING.match(name)}


def _open_files(folder: Path) -> list[str]:
    links = []
    for file in (folder / "fd").iterdir():
        with suppress(OSError):
            links.append(os.readlink(file))
    return links


def _pids(proc: Path) -> list[int]:
    return sorted(int(name) for name in os.listdir(proc) if name.isdecimal())
