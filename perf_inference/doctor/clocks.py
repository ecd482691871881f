"""The clocks of the hosts."""

from __future__ import annotations

import shutil
import subprocess

from perf_inference.doctor.finding import Finding
from perf_inference.doctor.graph import Flow, GraphFacts, Source

_APART_MS, _LATE_MS = 1.0, 100.0
_HOUR_MS = 3_600_000.0  # farther: another clock (simulated, replayed)


def clocks(facts: GraphFacts) -> list[Finding]:
    """Compare the clocks of the publishers' hosts with this one."""
    findings = []
    others = set()
    for flow in facts.flows:
        for source in flow.sources:
            if source.here is False:
                others.add(source.node)
            findings += _apart(flow, source)
    if findings:
        return findings
    if not any(flow.sources for flow in facts.flows):
        return [Finding("clocks", "skipped", "nothing was heard")]
    synchronised = ntp()
    if others and synchronised is False:
        why = "nothing keeps this machine's clock at that of the other hosts; latencies between them mean nothing"
        return [
            Finding("clocks", "warning", "this clock is not synchronised", why, "$ sudo systemctl enable --now chrony")
        ]
    state = {True: ", and this clock is synchronised", False: ", and this clock is not synchronised", None: ""}[
        synchronised
    ]
    if not others:
        return [Finding("clocks", "ok", f"all that was heard comes from this host{state}")]
    return [Finding("clocks", "ok", f"{len(others)} nodes on other hosts, none ahead or far behind{state}")]


def _apart(flow: Flow, source: Source) -> list[Finding]:
    delay = source.least_delay_ms
    fix = "the same time source for all hosts, on each of them:\n$ sudo apt install chrony && chronyc tracking"
    if delay is not None and -_HOUR_MS < delay < -_APART_MS:
        value = f"{flow.topic}: messages of {source.node} arrive {-delay:.1f} ms before they were sent"
        why = "its host's clock is ahead of this one by at least that; latencies and transforms are wrong by as much"
        return [Finding("clocks", "warning", value, why, fix)]
    if source.here is False and delay is not None and _LATE_MS < delay < _HOUR_MS:
        value = f"{flow.topic}: the fastest message of {source.node} took {delay:.0f} ms from another host"
        why = "either the network is that slow, or its host's clock is behind this one"
        return [Finding("clocks", "warning", value, why, fix)]
    ahead = source.stamp_ahead_ms
    if ahead is not None and _APART_MS < ahead < _HOUR_MS:  # farther: another clock (simulated, replayed)
        value = f"{flow.topic}: header stamps of {source.node} lie up to {ahead:.1f} ms in the future"
        why = "whoever counts latency from them gets it wrong; tf refuses to look into the future"
        return [Finding("clocks", "warning", value, why, fix)]
    return []


def ntp() -> bool | None:
    """Return whether this machine's clock is synchronised; None: nothing here tells."""
    for command, yes in (
        (("timedatectl", "show", "-p", "NTPSynchronized", "--value"), "yes"),
        (("chronyc", "-c", "waitsync", "1", "0", "0", "0.1"), ""),
    ):
        if shutil.which(command[0]) is None:
            continue
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=3.0, stdin=subprocess.DEVNULL)
        except subprocess.TimeoutExpired:
            continue
        if yes and done.returncode == 0:
            return done.stdout.strip() == yes
        if not yes:
            return done.returncode == 0
    return None
