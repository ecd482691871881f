"""Three hundred generated bags, converted to every form and back: message by message, and what is lost is named."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from support.bag_generator import Channel, GeneratedBag, Recorded, generate
from support.cases import sampled

from perf_inference.recording.bags.target import target_of
from perf_inference.recording.convert import Conversion, convert
from perf_inference.recording.message import Attachment, BagMessage, Note
from perf_inference.recording.open import Bag, open_damaged, open_source

FORMS = ("bag.jsonl", "bag.mcap", "bag.db3", "folder_mcap", "folder_sqlite3")
_SIGN, _WRAP = 1 << 63, 1 << 64


@dataclass
class Held:
    """What a form holds of a recording."""

    messages: list[Recorded]
    notes: dict[str, dict[str, str]]
    attachments: dict[str, bytes]
    about: tuple[str, dict[str, str]]


def form_of(name: str) -> str:
    return {"bag.jsonl": "jsonl", "bag.mcap": "mcap", "folder_mcap": "mcap"}.get(name, "sqlite3")


def expected(held: Held, form: str) -> tuple[Held, int]:
    """Return what a form makes of a recording, and how many things it must name as lost."""
    lost = 0
    if form != "mcap":
        lost += len(held.notes) + len(held.attachments)
        held = replace(held, notes={}, attachments={})
    channels = {message.channel for message in held.messages}
    if form == "sqlite3":
        definitions: dict[str, set[object]] = {}
        for channel in channels:
            definitions.setdefault(channel.type, set()).add(channel.schema)
        lost += sum(len(found) > 1 for kind, found in definitions.items() if kind)
        lost += sum(bool(channel.metadata) for channel in channels)
        lost += any(m.t_ns >= _SIGN or (m.publish_ns or 0) >= _SIGN for m in held.messages)
    if form == "mcap":
        lost += any(m.t_ns < 0 or (m.publish_ns or 0) < 0 for m in held.messages)
    return replace(held, messages=[_held(message, form) for message in held.messages]), lost


def _held(message: Recorded, form: str) -> Recorded:
    t_ns, publish_ns, channel = message.t_ns, message.publish_ns, message.channel
    if form == "sqlite3":
        channel = replace(channel, metadata=())
        t_ns, publish_ns = ((n - _WRAP if n is not None and n >= _SIGN else n) for n in (t_ns, publish_ns))
    if form == "mcap":
        t_ns, publish_ns = ((n + _WRAP if n is not None and n < 0 else n) for n in (t_ns, publish_ns))
    return replace(message, t_ns=t_ns, publish_ns=publish_ns, channel=channel)


def read(path: Path, like: list[Recorded]) -> Held:
    """Return what a form holds, by the package's readers; `like` is what its channels are compared with."""
    files, failed = open_damaged(path)
    assert failed == []
    found: list[Recorded] = []
    notes, attachments = {}, {}
    about: tuple[str, dict[str, str]] = ("", {})
    for file in files:
        found += [
            _recorded(message, like[len(found) + n : len(found) + n + 1]) for n, message in enumerate(file.stored())
        ]
        for extra in file.extras():
            if isinstance(extra, Note):
                notes[extra.name] = dict(extra.values)
            elif isinstance(extra, Attachment):
                assert (extra.create_ns, extra.log_ns, extra.media_type) == (5, 6, "text/yaml")
                attachments[extra.name] = extra.data
        about = (file.about.ros_distro, dict(file.about.custom_data)) if file.about.ros_distro else about
        file.close()
    return Held(found, notes, attachments, about)


def _recorded(message: BagMessage, like: list[Recorded]) -> Recorded:
    source = message.source
    assert source is not None
    definition = source.definition
    schema = None if definition is None else (definition.encoding, definition.data)
    if like and like[0].channel.schema is None:  # what a recording does not define may be known here
        schema = None
    channel = Channel(source.name, source.type, source.encoding, schema, source.metadata)
    return Recorded(message.t_ns, channel, message.data, message.publish_ns or None, message.publish_seq or None)


def make(source: Path, target: Path) -> Conversion:
    storage = target.name.removeprefix("folder_") if target.name.startswith("folder_") else None
    return convert(source, target_of(target, storage))


def check(bag: GeneratedBag, out: Path, ways_back: tuple[str, ...]) -> int:
    """Convert to every form, and each of them back; return how many conversions there were."""
    original = Held(bag.messages, dict(bag.notes), dict(bag.attachments), (bag.ros_distro, bag.custom_data))
    source = open_source(bag.path)
    assert isinstance(source, Bag)
    played = [_recorded(message, []) for message in source.messages()]
    source.close()
    assert [m.t_ns for m in played] == sorted(m.t_ns for m in bag.messages), "played in the order of log times"
    assert sorted(m.data for m in played) == sorted(m.data for m in bag.messages)
    count = 0
    for name in FORMS:
        there = checked(bag.path, out / name, original, f"{bag.kind}: {name}")
        count += 1
        for back in ways_back:
            checked(out / name, out / f"{name}.back" / back, there, f"{bag.kind}: {name} and back to {back}")
            count += 1
    return count


def checked(source: Path, target: Path, held: Held, what: str) -> Held:
    target.parent.mkdir(exist_ok=True)
    done = make(source, target)
    wanted, lost = expected(held, form_of(target.name))
    assert done.unreadable == (), what
    assert len(done.lost) == lost, (what, done.lost)
    assert done.messages == len(held.messages), what
    found = read(target, wanted.messages)
    for number, (one, other) in enumerate(zip(found.messages, wanted.messages, strict=True)):
        assert one == other, (what, number)
    assert (found.notes, found.attachments) == (wanted.notes, wanted.attachments), what
    assert found.about == wanted.about, what
    return wanted


@pytest.mark.slow
@pytest.mark.parametrize("seed", sampled(range(12), keep=6))
def test_some_generated_bags_come_back(seed: int, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    check(generate(seed, tmp_path), tmp_path / "out", ("bag.jsonl", "bag.mcap", "bag.db3")[seed % 3 :][:1])


@pytest.mark.long
def test_prove_300_generated_bags_come_back(tmp_path: Path) -> None:
    conversions = messages = 0
    for seed in range(1000, 1300):
        folder = tmp_path / str(seed)
        (folder / "out").mkdir(parents=True)
        bag = generate(seed, folder)
        conversions += check(bag, folder / "out", ("bag.jsonl", "bag.mcap", "bag.db3"))
        messages += len(bag.messages)
        shutil.rmtree(folder)
    print(f"300 bags with {messages} messages: {conversions} conversions")
