"""One line of NVIDIA's tegrastats as a value: every form from L4T 28 (TX1) to 39 (Thor).

The order of the tokens is not stable and their names collide (`CPU` is a list of cores, a thermal zone and a rail), so
a line is read word by word: each name is judged together with the form of the word after it. What is not printed is
None, never 0; what is not known is ignored. Time grows with the length alone, and no line raises.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from perf_inference.telemetry.tegrastats_sample import Core, Engine, Mts, Rail, TegrastatsSample

UNAVAILABLE_C = -256  # what L4T 35 prints for a sensor that is powered down

_N = r"-?[0-9]{1,12}(?:\.[0-9]{1,9})?"  # bounded: int() refuses thousands of digits
_START = re.compile(  # the first token of a sample, whichever it is; at the beginning of a word only
    r"(?<![A-Za-z0-9_])(?:(?:RAM|SWAP|IRAM)\s+[0-9]{1,12}/[0-9]{1,12}[kMGT]B|(?:CPU|cpu)\s+\[|"
    r"(?:EMC|GR3D2?)(?:_FREQ)?\s+[0-9@]|[A-Za-z][A-Za-z0-9_]{0,60}(?:@-?[0-9.]{1,20}C|\s+[0-9]{1,12}mW/))"
)
_TIME = re.compile(r"(?<![0-9-])([0-9]{2})-([0-9]{2})-([0-9]{4})\s+([0-9]{2}):([0-9]{2}):([0-9]{2})(?![0-9])")
_DELIMITERS = str.maketrans("()\"'", "    ")
_MEMORY = re.compile(r"([0-9]{1,12})/([0-9]{1,12})([kMGT])B")
_SIZE = re.compile(r"([0-9]{1,12})([kMGT])B")
_BLOCKS = re.compile(r"([0-9]{1,12})x([0-9]{1,12})([kMGT])B")
_LOAD = re.compile(rf"(?:({_N})%)?(?:@({_N})|@\[([^\[\]]*)\])?")
_LOADS = re.compile(rf"\[([^\[\]]*)\](?:@({_N}))?")
_NUMBER = re.compile(_N)
_ZONE = re.compile(rf"([^\s@\[\]]{{1,100}})@({_N})C(?:/({_N})C)?")
_RAIL = re.compile(rf"({_N})(mW)?(?:/({_N})(?:mW)?)?(?:/({_N})(?:mW)?)?")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.+-]{0,60}")
_ENGINE = re.compile(r"[A-Z][A-Z0-9_]{1,40}")
_KB = {"k": 1, "M": 1024, "G": 1024**2, "T": 1024**3}


def parse(line: str) -> TegrastatsSample | None:
    """Return the sample that a line of tegrastats holds; None: it holds neither memory nor a list of cores.

    What a wrapper printed before the sample (a date, a log prefix, a quote) is skipped.
    """
    start = _START.search(line)
    if start is None:
        return None
    reading = _Reading()
    reading.values["timestamp"] = _timestamp(line[: start.start()])
    reading.read(_words(line[start.start() :]))
    sample = TegrastatsSample(**reading.values)
    return sample if sample.ram_total_mb is not None or sample.cpu else None


class _Reading:
    """The fields found so far; what comes first stays, should a line hold something twice."""

    def __init__(self) -> None:
        self.temps: dict[str, float] = {}
        self.temps_max: dict[str, float] = {}
        self.unavailable: dict[str, None] = {}  # an ordered set
        self.rails: dict[str, Rail] = {}
        self.engines: dict[str, Engine] = {}
        self.second_gpu: tuple[float, ...] = ()
        self.values: dict[str, Any] = {}

    def read(self, words: list[str]) -> None:
        """Judge each word with the one after it; a value that was used is not a name again."""
        words.append("")
        index = 0
        while index < len(words) - 1:
            word = words[index]
            alone = "@" in word and self._zone(word)
            index += 2 if not alone and self._pair(word, words[index + 1]) else 1
            if word == "MTS":
                self._mts(words[index : index + 4])
        if self.second_gpu:
            self.values["gpu_freq_mhz"] = (*self.values.get("gpu_freq_mhz", ()), *self.second_gpu)
        self.values.update(
            temps_c=self.temps, temps_max_c=self.temps_max, temps_unavailable=tuple(self.unavailable),
            power_mw=self.rails, engines=self.engines,
        )  # fmt: skip

    def _pair(self, name: str, value: str) -> bool:
        """Take a name and its value; whether they belong together."""
        if name in ("RAM", "SWAP", "IRAM"):
            return self._memory(name.lower(), value)
        if name in ("lfb", "cached"):
            return self._memory_detail(name, value)
        if name in ("CPU", "cpu") and value.startswith("["):
            return self._cores(value)
        if ("/" in value or value.endswith("mW")) and self._rail(name, value):
            return True
        if _ENGINE.fullmatch(name) is None:
            return False
        bare = name.removesuffix("_FREQ").removesuffix("_LOAD")
        if bare in ("EMC", "GR3D", "GR3D2"):
            return self._loaded(bare, value)
        return bare not in ("CPU", "GPU", "MTS") and self._engine(bare, value)

    def _set(self, **fields: Any) -> None:
        for name, value in fields.items():
            self.values.setdefault(name, value)

    def _memory(self, name: str, value: str) -> bool:
        if (match := _MEMORY.fullmatch(value)) is None:
            return False
        used, total = (int(match[group]) * _KB[match[3]] for group in (1, 2))
        if name == "iram":
            self._set(iram_used_kb=used, iram_total_kb=total)
        else:
            self._set(**{f"{name}_used_mb": _mb(used), f"{name}_total_mb": _mb(total)})
        return True

    def _memory_detail(self, name: str, value: str) -> bool:
        if name == "lfb" and (match := _BLOCKS.fullmatch(value)):
            self._set(lfb_blocks=int(match[1]), lfb_block_kb=int(match[2]) * _KB[match[3]])
            return True
        if match := _SIZE.fullmatch(value):  # a plain size after lfb is IRAM's
            if name == "cached":
                self._set(swap_cached_mb=_mb(int(match[1]) * _KB[match[2]]))
            return True
        return False

    def _cores(self, value: str) -> bool:
        if (match := _LOADS.fullmatch(value)) is None:
            return False
        shared = _mhz(match[2])
        cores = []
        for entry in match[1].split(",") if match[1] else ():
            if entry.lower() == "off":
                cores.append(Core(None, None, online=False))
                continue
            found = _LOAD.fullmatch(entry)
            own = None if found is None else _mhz(found[2])
            cores.append(Core(None if found is None else _number(found[1]), shared if own is None else own, True))
        self._set(cpu=tuple(cores))
        return True

    def _loaded(self, name: str, value: str) -> bool:
        """EMC or the GPU: a load, a clock, both, or a bare clock as old releases print it."""
        if _NUMBER.fullmatch(value):
            load, clocks = None, (value,)
        elif (match := _LOAD.fullmatch(value)) is not None:
            load, clocks = match[1], (match[2],) if match[2] else tuple((match[3] or "").split(","))
        else:
            return value.lower() == "off"
        known = tuple(mhz for clock in clocks if (mhz := _mhz(clock)) is not None)
        if name == "EMC":
            self._set(emc_load_pct=_number(load), emc_freq_mhz=known[0] if known else None)
        elif name == "GR3D":
            self._set(gpu_load_pct=_number(load), gpu_freq_mhz=known)
        else:  # the second GPC of the same GPU, under a name of its own
            self.second_gpu = self.second_gpu or known
        return True

    def _zone(self, word: str) -> bool:
        if (match := _ZONE.fullmatch(word)) is None:
            return False
        name, now = match[1], float(match[2])
        if now <= UNAVAILABLE_C:
            self.unavailable[name] = None
        else:  # the hottest of several zones of one name
            self.temps[name] = max(now, self.temps.get(name, now))
        if match[3] is not None and (highest := float(match[3])) > UNAVAILABLE_C:
            self.temps_max[name] = max(highest, self.temps_max.get(name, highest))
        return True

    def _rail(self, name: str, value: str) -> bool:
        if (match := _RAIL.fullmatch(value)) is None or _NAME.fullmatch(name) is None:
            return False
        self.rails.setdefault(name, Rail(_value(match[1]), _number(match[3]), _number(match[4])))
        return True

    def _engine(self, name: str, value: str) -> bool:
        if value.lower() == "off":
            engine = Engine(on=False)
        elif _NUMBER.fullmatch(value):
            engine = Engine(on=True, freq_mhz=_mhz(value))
        elif match := _LOADS.fullmatch(value):
            loads = tuple(
                _value(load[1]) for entry in match[1].split(",") if (load := _LOAD.fullmatch(entry)) and load[1]
            )
            engine = Engine(True, sum(loads) / len(loads) if loads else None, _mhz(match[2]), loads)
        elif match := _LOAD.fullmatch(value):
            engine = Engine(True, _number(match[1]), _mhz(match[2]))
        else:
            return False
        before = self.engines.get(name)
        if before is not None and before.on and engine.on:  # VIC_FREQ and VIC_LOAD are one engine
            loaded = engine if before.load_pct is None else before
            mhz = engine.freq_mhz if before.freq_mhz is None else before.freq_mhz
            self.engines[name] = Engine(True, loaded.load_pct, mhz, loaded.loads_pct)
        else:
            self.engines.setdefault(name, engine)
        return True

    def _mts(self, words: list[str]) -> None:
        if len(words) == 4 and (words[0], words[2]) == ("fg", "bg"):
            shares = [_LOAD.fullmatch(word) for word in (words[1], words[3])]
            loads = [_number(share[1]) for share in shares if share is not None]
            if len(loads) == 2 and loads[0] is not None and loads[1] is not None:
                self._set(mts=Mts(loads[0], loads[1]))


def _words(text: str) -> list[str]:
    """Split at blanks and parentheses, but not inside [ ]; a bracket that never closes holds one word."""
    words: list[str] = []
    parts: list[str] = []  # of a bracket that is open
    for word in text.translate(_DELIMITERS).split():
        if parts and "[" in word:
            words += parts
            parts = []
        if parts or word.rfind("[") > word.rfind("]"):
            parts.append(word)
            if "]" in word.rpartition("[")[2]:
                words.append("".join(parts))
                parts = []
        else:
            words.append(word)
    return words + parts


def _timestamp(prefix: str) -> datetime | None:
    """Return tegrastats' own date, month first; a wrapper's may stand before it."""
    found = None
    for found in _TIME.finditer(prefix):  # noqa: B007 - the last one
        pass
    if found is None:
        return None
    month, day, year, hour, minute, second = (int(group) for group in found.groups())
    try:
        return datetime(year, month, day, hour, minute, second)
    except ValueError:
        return None


def _value(text: str) -> float:
    return float(text) if "." in text else int(text)


def _number(text: str | None) -> float | None:
    return None if text is None else _value(text)


def _mhz(text: str | None) -> float | None:
    """Return a clock; -1, as the TK1 prints it, is unknown."""
    if not text or _NUMBER.fullmatch(text) is None:
        return None
    value = _value(text)
    return value if value >= 0 else None


def _mb(kilobytes: int) -> float:
    return kilobytes // 1024 if kilobytes % 1024 == 0 else kilobytes / 1024
