"""The machine's figures over the last hours, and what they say about any window of them.

Each figure of a window is made from the readings inside it; where a window is so short that none is, from its
neighbours on both sides, at most `hold_ns` away. A clock *moved* when its highest reading is more than 2 % above its
lowest; a cluster of the GPU that is off for the whole window is left out while another one runs. Energy is the
trapezoid over the readings of power, interpolated at the window's edges; it is None unless power is known over the
whole window, and a reading counts for at most `hold_ns` beyond itself. Where a GPU counts its energy itself, the
counter takes the place of the trapezoid between the first and the last reading. tegrastats' figures come before the
kernel's own, which take their place where it is not here, is silent, or does not print them.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, MutableSequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Generic, TypeVar

from perf_inference.telemetry.board import BoardSample
from perf_inference.telemetry.host import HostSample
from perf_inference.telemetry.jetson import JetsonSettings
from perf_inference.telemetry.nvml import GpuSample
from perf_inference.telemetry.tegrastats_process import TegrastatsReading
from perf_inference.telemetry.tegrastats_sample import SUMMED_RAILS, TOTAL_RAILS, TegrastatsSample
from perf_inference.telemetry.window import MOVED, ClockRange, MachineWindow, Power

HOLD_NS = 2_500_000_000
_TRIM = 64  # readings go in batches
T = TypeVar("T")


@dataclass(frozen=True)
class MachineSample:
    """The machine at one moment; tegrastats' part carries the time of its own line."""

    monotonic_ns: int
    system_ns: int
    host: HostSample
    gpus: tuple[GpuSample, ...] | None = None  # None: no NVML here
    tegrastats: TegrastatsReading | None = None  # None: none here, or silent
    jetson: JetsonSettings = field(default_factory=JetsonSettings)
    board: BoardSample | None = None  # None: this is no Jetson


class History:
    """Readings of the last `history_s` [s]; a figure takes 16 bytes a reading, whatever the samples hold."""

    def __init__(self, history_s: float = 4 * 3600.0, hold_ns: int = HOLD_NS) -> None:
        self._history_ns, self._hold_ns = round(history_s * 1e9), hold_ns
        self._figures: dict[tuple[str, str], _Track[float]] = {}  # by what it is and whose
        self._settings: _Track[_Settings] = _Track([])
        self._gpus: dict[str, None] = {}  # an ordered set

    def add(self, sample: MachineSample) -> None:
        """Take the figures of a sample; time does not run backwards."""
        now_ns, host = sample.monotonic_ns, sample.host
        reasons = [gpu.clock_reasons for gpu in sample.gpus or () if gpu.clock_reasons is not None]
        seen = tuple(sorted({name for names in reasons for name in names})) if reasons else None
        self._settings.add(now_ns, _Settings(seen, sample.jetson, host.governor))
        self._add(now_ns, "cpu_mhz", "host", host.cpu_mhz)
        self._add(now_ns, "degc", "host", host.temperature_degc)
        for gpu in sample.gpus or ():
            name = f"gpu{gpu.index}"
            self._gpus[name] = None
            self._add(now_ns, "nvml_mhz", name, gpu.sm_mhz)
            self._add(now_ns, "degc", name, gpu.temperature_degc)
            self._add(now_ns, "gpu_w", name, gpu.power_w)
            self._add(now_ns, "gpu_j", name, gpu.energy_j)
        if sample.tegrastats is not None:
            self._add_line(sample.tegrastats.monotonic_ns, sample.tegrastats.sample)
        if sample.board is not None:
            self._add_board(now_ns, sample.board, None if sample.tegrastats is None else sample.tegrastats.sample)
        self._settings.trim(now_ns - self._history_ns)
        for track in self._figures.values():
            track.trim(now_ns - self._history_ns)

    def window(self, begin_ns: int, end_ns: int) -> MachineWindow:
        """Return what is known of [begin_ns, end_ns] of the monotonic clock.

        Raises:
            ValueError: the window ends before it begins.
        """
        if end_ns < begin_ns:
            raise ValueError(f"a window ends after it begins; this one from {begin_ns} to {end_ns} ns")
        window = _Window(begin_ns, end_ns, self._hold_ns)
        seen = window.readings(self._settings)
        named = [settings.clock_reasons for settings in seen if settings.clock_reasons is not None]
        powers = {
            owner: power
            for (kind, owner), track in self._figures.items()
            if kind in ("gpu_w", "rail_w") and (power := window.power(track, self._figures.get(("gpu_j", owner))))
        }
        source, power_w, energy_j = self._total(powers)
        return MachineWindow(
            begin_ns=begin_ns,
            end_ns=end_ns,
            samples=window.count(self._settings),
            cpu=window.clock(self._of("cpu_mhz")) or window.clock(self._of("board_cpu_mhz")),
            gpu=window.clock(self._of("nvml_mhz")) or window.clock(self._of("board_gpu_mhz")),
            power_source=source,
            power_w=power_w,
            energy_j=energy_j,
            powers=powers,
            temperature_max_degc=max((v for track in self._of("degc") for v in window.readings(track)), default=None),
            clock_reasons=tuple(sorted({name for names in named for name in names})) if named else None,
            nvpmodel=tuple(dict.fromkeys(s.jetson.nvpmodel for s in seen if s.jetson.nvpmodel is not None)),
            jetson_clocks=seen[-1].jetson.jetson_clocks if seen else None,
            governor=seen[-1].governor if seen else None,
        )

    def _add_line(self, line_ns: int, line: TegrastatsSample) -> None:
        clocks = [core.freq_mhz for core in line.cpu if core.freq_mhz is not None]
        self._add(line_ns, "board_cpu_mhz", "cpu", sum(clocks) / len(clocks) if clocks else None)
        for index, mhz in enumerate(line.gpu_freq_mhz):
            self._add(line_ns, "board_gpu_mhz", f"gpc{index}", mhz)
        self._add(line_ns, "degc", "board", line.hottest_c)
        for name, rail in line.power_mw.items():
            self._add(line_ns, "rail_w", name, rail.now / 1000)

    def _add_board(self, now_ns: int, board: BoardSample, line: TegrastatsSample | None) -> None:
        """Take what tegrastats does not print: it drops the GPU's clock or all rails in some versions."""
        if line is None or not line.gpu_freq_mhz:
            for name, mhz in board.gpu_mhz.items():
                self._add(now_ns, "board_gpu_mhz", name, mhz)
        if line is None or not line.power_mw:
            for name, power_w in board.power_w.items():
                self._add(now_ns, "rail_w", name, power_w)

    def _add(self, time_ns: int, kind: str, owner: str, value: float | None) -> None:
        if value is not None:
            track = self._figures.get((kind, owner))
            if track is None:
                track = self._figures[kind, owner] = _Track(array("d"))
            track.add(time_ns, value)

    def _of(self, kind: str) -> list[_Track[float]]:
        return [track for (what, _), track in self._figures.items() if what == kind]

    def _total(self, powers: dict[str, Power]) -> tuple[str | None, float | None, float | None]:
        """Return (source, mean [W], energy [J]): the board's input, else its rails, else all GPUs together."""
        names = [tuple(self._gpus)] if self._gpus else []
        sources = (*((rail,) for rail in TOTAL_RAILS), *SUMMED_RAILS, *names)
        source = next((source for source in sources if all(name in powers for name in source)), None)
        if source is None:
            return None, None, None
        of = [powers[name] for name in source]
        energies = [one.energy_j if one.counted_j is None else one.counted_j for one in of]
        known = [energy for energy in energies if energy is not None]
        return "+".join(source), sum(one.mean_w for one in of), sum(known) if len(known) == len(of) else None


@dataclass(frozen=True)
class _Settings:
    """What is no figure."""

    clock_reasons: tuple[str, ...] | None
    jetson: JetsonSettings
    governor: str | None


class _Track(Generic[T]):
    """Readings of one thing in order of time."""

    def __init__(self, values: MutableSequence[T]) -> None:
        self.times_ns = array("q")
        self.values = values

    def add(self, time_ns: int, value: T) -> None:
        """Append a reading; one that is there already (a line of tegrastats seen twice) is not taken again."""
        if not self.times_ns or time_ns > self.times_ns[-1]:
            self.times_ns.append(time_ns)
            self.values.append(value)

    def trim(self, oldest_ns: int) -> None:
        if len(self.times_ns) > _TRIM and self.times_ns[_TRIM] < oldest_ns:
            del self.times_ns[:_TRIM], self.values[:_TRIM]


@dataclass(frozen=True)
class _Window:
    """The arithmetic of one window."""

    begin_ns: int
    end_ns: int
    hold_ns: int

    def count(self, track: _Track[T]) -> int:
        return bisect_right(track.times_ns, self.end_ns) - bisect_left(track.times_ns, self.begin_ns)

    def readings(self, track: _Track[T]) -> list[T]:
        """Return the values inside, else those of the neighbours that are near enough."""
        times, values = track.times_ns, track.values
        first, beyond = bisect_left(times, self.begin_ns), bisect_right(times, self.end_ns)
        if first < beyond:
            return list(values[first:beyond])
        before = [values[first - 1]] if first > 0 and self.begin_ns - times[first - 1] <= self.hold_ns else []
        after = [values[beyond]] if beyond < len(times) and times[beyond] - self.end_ns <= self.hold_ns else []
        return before + after

    def clock(self, tracks: Iterable[_Track[float]]) -> ClockRange | None:
        """Return the range over all tracks; each is compared with itself only."""
        every_one = [values for track in tracks if (values := self.readings(track))]
        read = [values for values in every_one if any(values)] or every_one  # those that are off: gated, or not there
        if not read:
            return None
        judged = [max(values) - min(values) > MOVED * min(values) for values in read if len(values) > 1]
        every = [value for values in read for value in values]
        return ClockRange(min(every), sum(every) / len(every), max(every), any(judged) if judged else None)

    def power(self, track: _Track[float], counter: _Track[float] | None = None) -> Power | None:
        """Return mean and energy; None: nothing is known in the window.

        Args:
            counter: of the same thing's energy [J].
        """
        area_w_ns, known_ns = self._area(track, self.begin_ns, self.end_ns)
        if known_ns == 0:
            return None
        whole = known_ns == self.end_ns - self.begin_ns
        power = Power(area_w_ns / known_ns, area_w_ns / 1e9 if whole else None, known_ns / 1e9)
        counted_j = None if counter is None else self._counted(counter, track)
        return power if counted_j is None else replace(power, counted_j=counted_j)

    def _counted(self, counter: _Track[float], track: _Track[float]) -> float | None:
        """Return what a counter says [J], with the power's area at an edge where it has no reading on the far side.

        None: fewer than two readings, one that is lower than the one before (a driver loaded anew), or an edge of which
        nothing is known.
        """
        first = max(0, bisect_right(counter.times_ns, self.begin_ns) - 1)
        beyond = bisect_left(counter.times_ns, self.end_ns) + 1
        points = list(zip(counter.times_ns[first:beyond], counter.values[first:beyond], strict=True))
        steps = list(pairwise(points))
        if not steps or any(after[1] < before[1] for before, after in steps):
            return None
        counted_j = 0.0
        for (start_ns, start_j), (stop_ns, stop_j) in steps:
            inside_ns = min(stop_ns, self.end_ns) - max(start_ns, self.begin_ns)
            if inside_ns < stop_ns - start_ns and stop_ns - start_ns > self.hold_ns:
                return None  # too far apart to be divided at the edge
            counted_j += (stop_j - start_j) * inside_ns / (stop_ns - start_ns)
        for edge in ((self.begin_ns, points[0][0]), (points[-1][0], self.end_ns)):
            if edge[1] > edge[0]:
                area_w_ns, known_ns = self._area(track, *edge)
                if known_ns != edge[1] - edge[0]:
                    return None
                counted_j += area_w_ns / 1e9
        return counted_j

    def _area(self, track: _Track[float], begin_ns: int, end_ns: int) -> tuple[float, int]:
        """Return the area under the power by the trapezoid rule [W ns], and how long it is known [ns]."""
        first = max(0, bisect_left(track.times_ns, begin_ns) - 1)
        beyond = bisect_right(track.times_ns, end_ns) + 1
        points = list(zip(track.times_ns[first:beyond], track.values[first:beyond], strict=True))
        if not points:
            return 0.0, 0
        (first_ns, first_w), (last_ns, last_w) = points[0], points[-1]
        points = [(first_ns - self.hold_ns, first_w), *points, (last_ns + self.hold_ns, last_w)]
        area_w_ns, known_ns = 0.0, 0
        for (start_ns, start_w), (stop_ns, stop_w) in pairwise(points):
            since_ns, until_ns = max(start_ns, begin_ns), min(stop_ns, end_ns)
            if until_ns <= since_ns or stop_ns - start_ns > self.hold_ns:
                continue
            slope = (stop_w - start_w) / (stop_ns - start_ns)
            area_w_ns += (start_w + slope * ((since_ns + until_ns) / 2 - start_ns)) * (until_ns - since_ns)
            known_ns += until_ns - since_ns
        return area_w_ns, known_ns
