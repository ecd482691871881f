"""CDR to fields and back: by hand, on real bags, and with hostile bytes and definitions."""

from __future__ import annotations

import os
import random
import struct
import tracemalloc
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.cdr_values import as_written, fields
from support.pace import cpu_s, pace_s

from perf_inference.errors import InputError, RecordingError
from perf_inference.recording.bags.mcap_file import McapFile
from perf_inference.recording.bags.sqlite_file import SqliteFile
from perf_inference.recording.cdr.codec import Codec, Decoded
from perf_inference.recording.cdr.definition import Definition, type_hash
from perf_inference.recording.cdr.fields import NUMBERS
from perf_inference.recording.cdr.message_tree import message_tree
from perf_inference.recording.cdr.versions import builtin_definition

SEPARATOR = "=" * 80
EXAMPLES = int(os.environ.get("PERF_INFERENCE_TEST_EXAMPLES", "3"))
EVERYTHING = f"""
Inner[] loops
bool[] flags
bool flag
byte octet
char letter
int8 tiny
float32 single
float64 double
float32[] singles
float64[] doubles
float64[9] nine
float32[70] seventy
uint8[] blob
int16[<=70] shorts
string text
string[] texts
string<=5 few
string[2] two
Inner[2] pair
Empty nothing
Empty[] nothings
uint64 end
{SEPARATOR}
MSG: test_msgs/Inner
uint8 byte
string name
float64 value
uint16[3] three
{SEPARATOR}
MSG: test_msgs/Empty
"""


def codec(text: str, type_name: str = "test_msgs/msg/Test") -> Codec:
    return Codec(Definition(type_name, "ros2msg", text))


def builtin(type_name: str) -> Codec:
    definition = builtin_definition(type_name)
    assert definition is not None
    return Codec(definition)


def cdr(body: str) -> bytes:
    return bytes.fromhex("00 01 00 00" + body)


# -- by hand


def test_joint_state_by_hand() -> None:
    data = cdr(
        "01000000 02000000"  # stamp
        "05000000 61726d3100 000000"  # frame_id, 3 bytes of padding
        "01000000 02000000 6a00 0000"  # name
        "01000000 00000000 000000000000f03f"  # position: 4 bytes of padding before a double
        "00000000 00000000"  # no velocity, no effort: not aligned to 8
    )
    message = {
        "header": {"stamp": {"sec": 1, "nanosec": 2}, "frame_id": "arm1"},
        "name": ["j"],
        "position": [1.0],
        "velocity": [],
        "effort": [],
    }
    joint_state = builtin("sensor_msgs/msg/JointState")
    assert joint_state.decode(data) == Decoded(message, True, 1_000_000_002)
    assert joint_state.encode(message) == data
    assert joint_state.stamp_ns(data) == 1_000_000_002


def test_values_of_the_format() -> None:
    text = "bool b\nchar c\nbyte o\nint8 i\nfloat32 f\nuint64 u\nuint8[2] two\nint8[] tiny\nbool[] flags\nEmpty e\n"
    test = codec(f"{text}{SEPARATOR}\nMSG: test_msgs/Empty\n")
    data = cdr("01 ff 80 ff cdcccc3d ffffffffffffffff 0102 0000 01000000 fe 000000 02000000 0001 00")
    decoded = test.decode(data)
    assert decoded == Decoded(
        {
            "b": True,
            "c": 255,
            "o": 128,
            "i": -1,
            "f": 0.10000000149011612,  # float32 0.1, widened
            "u": 18446744073709551615,
            "two": {"dtype": "|u1", "base64": "AQI="},
            "tiny": {"dtype": "|i1", "base64": "/g=="},
            "flags": [False, True],
            "e": {},
        },
        True,
        None,
    )
    assert test.encode(orjson.loads(orjson.dumps(decoded.message))) == data


@pytest.mark.parametrize(("name", "dtype", "size"), [("float64", "<f8", 8), ("uint16", "<u2", 2), ("bool", "|b1", 1)])
def test_up_to_64_numbers_are_a_list(name: str, dtype: str, size: int) -> None:
    test = codec(f"{name}[] x")
    few, many = (
        cdr(struct.pack("<I", count).hex() + "00" * (size == 8) * 4 + "00" * size * count) for count in (64, 65)
    )
    assert test.decode(few).message["x"] == [0] * 64
    assert test.decode(many).message["x"]["dtype"] == dtype
    assert all(test.decode(data).exact and test.encode(test.decode(data).message) == data for data in (few, many))


def test_nan_and_infinities_are_text() -> None:
    test = codec("float64 a\nfloat32 b\nfloat64[] c\nfloat32[3] d")
    message = {"a": "NaN", "b": "-Infinity", "c": [1.5, "Infinity", "NaN"], "d": ["NaN", -0.0, 1e-45]}
    data = test.encode(message)
    assert data[4:16].hex() == "000000000000f87f000080ff"
    decoded = test.decode(data)
    assert str(decoded.message) == str(test.decode(data).message)
    assert decoded.exact
    assert decoded.message["c"] == [1.5, "Infinity", "NaN"]
    assert str(decoded.message["d"]) == "['NaN', -0.0, 1.401298464324817e-45]"
    assert test.encode(orjson.loads(orjson.dumps(decoded.message))) == data


def test_huge_finite_values_are_not_infinite() -> None:
    """Their sum is, which is what the decoder looks at."""
    test = codec("float64 a\nfloat64 b\nfloat64[] c")
    message = {"a": 1.7e308, "b": 1.7e308, "c": [-1.7e308, -1.7e308]}
    assert test.decode(test.encode(message)) == Decoded(message, True, None)


def test_wide_text() -> None:
    """As ROS 2 writes it: the number of UTF-16 units, and each in 4 bytes; other forms are read, and not exact."""
    test = codec("wstring w\nwstring<=3 b")
    message = {"w": "a\U0001f600", "b": "xyz"}
    data = test.encode(message)
    assert data == cdr("03000000 61000000 3dd80000 00de0000 03000000 78000000 79000000 7a000000")
    assert test.decode(data) == Decoded(message, True, None)
    units = cdr("03000000 6100 3dd8 00de 0000 03000000 7800 7900 7a00")
    assert test.decode(units) == Decoded(message, False, None)
    sizes = cdr("06000000 6100 3dd8 00de 0000 06000000 7800 7900 7a00")
    assert test.decode(sizes) == Decoded(message, False, None)
    assert type_hash(Definition("test_msgs/msg/Test", "ros2msg", "wstring w")) is not None


# -- what makes the fields not enough

PARTS = {
    "header": "00010000",
    "b": "01",
    "padding of f": "000000",
    "f": "0000803f",
    "size of s": "02000000",
    "s": "6100",
    "padding of d": "0000",
    "size of d": "01000000",
    "padding": "00000000",
    "d": "000000000000f03f",
    "spare": "",
}  # of bool b, float32 f, string s, float64[] d
BIG = {"header": "00000000", "f": "3f800000", "size of s": "00000002", "size of d": "00000001", "d": "3ff0000000000000"}


@pytest.mark.parametrize(
    ("parts", "changed"),
    [
        ({"padding of f": "000100"}, {}),
        ({"padding of d": "0001"}, {}),
        ({"padding": "00000001"}, {}),
        ({"spare": "00"}, {}),
        ({"header": "00010003"}, {}),
        ({"b": "02"}, {}),
        ({"f": "0100c07f"}, {"f": "NaN"}),  # a payload
        ({"f": "0000c0ff"}, {"f": "NaN"}),  # negative
        ({"f": "0000a07f"}, {"f": "NaN"}),  # signalling
        ({"d": "010000000000f87f"}, {"d": ["NaN"]}),
        ({"d": "000000000000f8ff"}, {"d": ["NaN"]}),
        ({"d": "010000000000f07f"}, {"d": ["NaN"]}),
        ({"s": "6162"}, {"s": "ab"}),  # no NUL
        ({"s": "ff00"}, {"s": "\ufffd"}),  # no UTF-8
        ({"size of s": "00000000", "s": "", "padding of d": "", "padding": ""}, {"s": ""}),  # no NUL either
        (BIG, {}),
    ],
    ids=str,
)
def test_not_exact(parts: dict[str, str], changed: dict[str, Any]) -> None:
    test = codec("bool b\nfloat32 f\nstring s\nfloat64[] d")
    message = {"b": True, "f": 1.0, "s": "a", "d": [1.0]}
    assert test.decode(bytes.fromhex("".join(PARTS.values()))) == Decoded(message, True, None)
    data = bytes.fromhex("".join({**PARTS, **parts}.values()))
    decoded = test.decode(data)
    assert decoded == Decoded({**message, **changed}, False, None)
    clean = test.encode(decoded.message)
    assert clean != data
    assert test.decode(clean) == Decoded({**message, **changed}, True, None)


@pytest.mark.parametrize("count", [3, 64, 65])
@pytest.mark.parametrize("kind", ["bool[]", "bool[{}]"])
def test_other_booleans_in_arrays(kind: str, count: int) -> None:
    test = codec(f"{kind.format(count)} x\nuint32[] y")
    message = {"x": as_written(NUMBERS["bool"], [True] * count), "y": []}
    clean = test.encode(message)
    assert test.decode(clean) == Decoded(message, True, None)
    dirty = clean.replace(b"\1" * count, b"\2" + b"\1" * (count - 1))
    assert test.decode(dirty) == Decoded(message, False, None)


@pytest.mark.parametrize("header", ["", "0001", "00010", "00020000", "00060000", "01010000", "ff000000"])
def test_other_encapsulations_are_refused(header: str) -> None:
    with pytest.raises(InputError, match=r"must begin with 00 00 or 00 01 \(plain CDR\)"):
        codec("uint8 x").decode(bytes.fromhex(header + "00" * (len(header) == 8) + "0" * (len(header) % 2)))


@pytest.mark.parametrize(("name", "code"), [("float64", "d"), ("int16", "h"), ("uint32", "I")])
def test_long_arrays_in_big_endian(name: str, code: str) -> None:
    test = codec(f"{name}[70] x")
    values = [n * 3 for n in range(70)]
    big = bytes(4) + struct.pack(f">70{code}", *values)
    assert test.decode(big) == Decoded({"x": as_written(NUMBERS[name], values)}, False, None)


def test_remembered_texts_are_compared() -> None:
    """The decoder takes texts from the message before only where the bytes are the same."""
    test = codec("string a\nstring[] b\nuint8 c")
    messages = [
        {"a": a, "b": b, "c": c}
        for a in ("", "x", "xy", "xyzt", "x" * 5000)
        for b in ([], [""], ["x"], ["x", "yz"], ["x", "yy"], ["q" * 3000, "r" * 3000])
        for c in (0, 1)
    ]
    random.Random(1).shuffle(messages)
    for message in messages * 2:
        assert test.decode(test.encode(message)) == Decoded(message, True, None)
    dirty = bytearray(test.encode({"a": "x", "b": ["x", "y"], "c": 1}))
    dirty[22] = 7  # between two texts
    assert [test.decode(bytes(dirty)).exact for _ in range(3)] == [False] * 3


def test_decoded_lists_are_the_callers() -> None:
    test = codec("string[] b")
    data = test.encode({"b": ["x"]})
    test.decode(data).message["b"].append("y")
    test.decode(data).message["b"].append("z")
    assert test.decode(data).message == {"b": ["x"]}


@pytest.mark.parametrize(
    ("sec", "nanosec", "stamp_ns"),
    [(0, 0, None), (0, 1, 1), (-1, 5, -999_999_995), (1_700_000_000, 7, 1_700_000_000_000_000_007)],
)
def test_stamp(sec: int, nanosec: int, stamp_ns: int | None) -> None:
    test = builtin("sensor_msgs/msg/Imu")
    data = cdr(struct.pack("<iI", sec, nanosec).hex() + "01000000 00" + "00" * 400)[:328]
    assert test.stamp_ns(data) == test.decode(data).stamp_ns == stamp_ns
    assert test.stamp_ns(bytes.fromhex("00000000") + struct.pack(">iI", sec, nanosec)) == stamp_ns
    assert test.stamp_ns(data[:11]) is None
    assert builtin("std_msgs/msg/String").stamp_ns(data) is None


# -- what does not fit


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ({}, "stamps: the field is missing; it must be a list"),
        ({"stamps": [{"sec": 1}]}, r"stamps\[0\].nanosec: the field is missing; it must be uint32"),
        ({"stamps": [{"sec": 1, "nanosec": -1}]}, r"stamps\[0\].nanosec: must be uint32, got int -1"),
        ({"stamps": [{"sec": 1.0, "nanosec": 1}]}, r"stamps\[0\].sec: must be int32, got float 1.0"),
        ({"stamps": [{"sec": True, "nanosec": 1}]}, r"stamps\[0\].sec: must be int32, got bool True"),
        ({"stamps": [{"sec": 1, "nanosec": 1, "x": 1}]}, r"stamps\[0\]: has no field 'x'"),
        ({"stamps": 5}, "stamps: must be a list, got int 5"),
        ({"stamps": [], "three": [1.0, 2.0]}, "three: must have 3 elements, got 2"),
        ({"stamps": [], "three": [1.0, 2, "nan"]}, "three: must be float32, got str 'nan'"),
        ({"stamps": [], "three": [1.0, 2, 1e39]}, "three: must be float32 elements, got list"),
        ({"stamps": [], "three": [1, 2, 3], "blob": {"dtype": "<f8", "base64": ""}}, r"blob: dtype must be \|u1"),
        ({"stamps": [], "three": [1, 2, 3], "blob": {"dtype": "|u1", "base64": "A"}}, "blob: must be base64"),
        ({"stamps": [], "three": [1, 2, 3], "blob": {"dtype": "|u1"}}, "blob: an array must be a list or"),
        ({"stamps": [], "three": [1, 2, 3], "blob": [256]}, "blob: must be uint8 elements"),
        ({"stamps": [], "three": [1, 2, 3], "blob": [], "text": "\ud800"}, "text: text must be Unicode"),
        ({"stamps": [], "three": [1, 2, 3], "blob": [], "text": "long"}, "text: text must have at most 3 bytes, got 4"),
        ([], "must be an object, got list"),
    ],
)
def test_fields_that_do_not_fit(message: Any, error: str) -> None:
    test = codec("builtin_interfaces/Time[] stamps\nfloat32[3] three\nuint8[] blob\nstring<=3 text")
    with pytest.raises(InputError, match=f"not a test_msgs/msg/Test: {error}"):
        test.encode(message)


def test_cut_off_messages_name_the_field() -> None:
    data = bytes.fromhex("".join(PARTS.values()))[:-1]
    test = codec("bool b\nfloat32 f\nstring s\nfloat64[] d")
    with pytest.raises(InputError, match="not a test_msgs/msg/Test in CDR: d: 8 bytes are needed, but 7 are left"):
        test.decode(data)
    for end in range(len(data)):
        with pytest.raises(InputError):
            test.decode(data[:end])


@pytest.mark.parametrize(
    ("text", "data", "value"),
    [
        ("uint16[<=1] x", "02000000 0100 0200", [1, 2]),
        ("string[<=1] x", "02000000 01000000 00 000000 01000000 00", ["", ""]),
        ("string<=1 x", "03000000 616200", "ab"),
        ("string<=1[] x", "01000000 03000000 616200", ["ab"]),
    ],
)
def test_more_than_the_bound_is_read_but_not_exact(text: str, data: str, value: Any) -> None:
    assert codec(text).decode(cdr(data)) == Decoded({"x": value}, False, None)
    assert codec(text.replace("<=1", "")).decode(cdr(data)) == Decoded({"x": value}, True, None)


# -- any bytes

ROOT = message_tree("test_msgs/msg/Test", "ros2msg", EVERYTHING)
SETTINGS = settings(
    max_examples=20 * EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.slow
@SETTINGS
@given(fields(ROOT))
def test_everything_comes_back(message: dict[str, Any]) -> None:
    data = EVERYTHING_CODEC.encode(message)
    assert EVERYTHING_CODEC.decode(data) == Decoded(message, True, None)
    assert EVERYTHING_CODEC.encode(orjson.loads(orjson.dumps(message))) == data


@pytest.mark.slow
@SETTINGS
@given(fields(ROOT), st.randoms(use_true_random=False))
def test_damaged_messages(message: dict[str, Any], chance: random.Random) -> None:
    """Whatever the bytes are: refused, or exact is the truth; and the fast decoder agrees with the careful one."""
    data = bytearray(EVERYTHING_CODEC.encode(message))
    for _ in range(chance.choice((1, 1, 2, 10))):
        at = chance.randrange(len(data))
        data[at] = chance.choice((0, 1, 2, 0x7F, 0x80, 0xF8, 0xFF, chance.randrange(256)))
    check_any(EVERYTHING_CODEC, bytes(data[: chance.choice((None, None, chance.randrange(len(data)))) or len(data)]))


def check_any(test: Codec, data: bytes) -> Decoded | None:
    try:
        careful = test._careful(data)
    except InputError:
        with pytest.raises(InputError):
            test.decode(data)
        return None
    decoded = test.decode(data)
    assert orjson.dumps(tuple(decoded)) == orjson.dumps(careful)
    return decoded


EVERYTHING_CODEC = codec(EVERYTHING)


def test_random_bytes() -> None:
    chance, seen = random.Random(1), Counter[bool]()
    codecs = [EVERYTHING_CODEC, builtin("sensor_msgs/msg/JointState"), builtin("diagnostic_msgs/msg/DiagnosticArray")]
    codecs += [builtin("std_msgs/msg/Empty"), codec("wstring[] w\nint64 x"), codec("uint8 a\nuint16[] b\nfloat32 c")]
    for _ in range(500 * EXAMPLES):
        body = bytes(chance.choice((0, 0, 0, 1, 2, 5, 0x7F, 0xFF, 65)) for _ in range(chance.randrange(80)))
        data = b"\0" + chance.choice((b"\0", b"\1")) + chance.choice((b"\0\0", b"\0\1")) + body
        for test in codecs:
            seen[check_any(test, data) is not None] += 1
    assert min(seen[True], seen[False]) > 500 * EXAMPLES  # both were tried


@pytest.mark.parametrize(
    "item", ["float64[]", "string[]", "string", "Empty[]", "uint8[]", "wstring", "Big[]", "Wide[]"]
)
@pytest.mark.parametrize("count", [0xFFFFFFFF, 0x7FFFFFFF, 100_001, 100_000])
def test_lying_counts(item: str, count: int) -> None:
    """Nothing is allocated for elements that cannot be there."""
    test = codec(
        f"{item} x\n{SEPARATOR}\nMSG: test_msgs/Empty\n{SEPARATOR}\nMSG: test_msgs/Big\nuint8[4000000000] y\n"
        f"{SEPARATOR}\nMSG: test_msgs/Wide\nBig[4000000000] z\n"
    )
    data = cdr(struct.pack("<I", count).hex()) + bytes(100_000)
    tracemalloc.start()

    def decode() -> None:
        with suppress(InputError):
            test.decode(data)

    taken_s, (_, peak) = cpu_s(decode), tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken_s < 100 * pace_s()
    assert peak < 200 * len(data)  # an empty object is 64 bytes of one


# -- hostile definitions


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("int32 x'];import os#", "must be 'type name'"),
        ("int32 x\nint32 x", "must be different names"),
        ("Test x", "within itself or too deep"),
        (f"A a\n{SEPARATOR}\nMSG: test_msgs/A\nTest[] t\n", "within itself or too deep"),
        (f"A a\n{SEPARATOR}\nMSG: test_msgs/A'\nint8 t\n", "after a separator"),
        (f"A a\n{SEPARATOR}\nfoo\n", "after a separator"),
        ("Nothing x", "uses test_msgs/msg/Nothing, whose definition is missing"),
        ("int32[0] x", "size from 1"),
        ("int32[99999999999999999999] x", "must be 'type name'"),
        ("int32<=5 x", "only strings are bounded"),
        ("float128 x", "whose definition is missing"),
        ("\u0441har x", "must be 'type name'"),
        ("int32 \u0445", "must be 'type name'"),
        ("x" * (2 << 20), "may have"),
    ],
)
def test_definitions_that_cannot_be_used(text: str, error: str) -> None:
    with pytest.raises(RecordingError, match=f"the definition of test_msgs/msg/Test cannot be used: .*(?:{error})"):
        codec(text)
    assert type_hash(Definition("test_msgs/msg/Test", "ros2msg", text)) is None


@pytest.mark.parametrize("name", ["x", "a/b", "a/msg/B'", "a/msg/B/C", "", "../x", "a/msg/B\n"])
def test_type_names(name: str) -> None:
    if name == "a/b":
        assert Codec(Definition(name, "ros2msg", "int8 x")).decode(cdr("05")).message == {"x": 5}
        return
    with pytest.raises(RecordingError, match="must be named like"):
        Codec(Definition(name, "ros2msg", "int8 x"))


@pytest.mark.thorough
@pytest.mark.slow
def test_wide_and_deep_definitions() -> None:
    """Ten fields of ten fields of ten fields ...: refused; nested as deep as allowed: decoded."""
    wide = "".join(f"{SEPARATOR}\nMSG: t/A{n}\n" + "".join(f"A{n + 1} f{i}\n" for i in range(10)) for n in range(12))
    with pytest.raises(RecordingError, match="may have 10000 fields"):
        codec(f"A0 a\n{wide}{SEPARATOR}\nMSG: t/A12\nint8 x\n", "t/msg/T")
    for many in ("[]", "[1]", ""):
        deep = "".join(f"{SEPARATOR}\nMSG: t/A{n}\nstring s\nA{n + 1}{many} a\n" for n in range(14))
        test = codec(f"A0 a\n{deep}{SEPARATOR}\nMSG: t/A14\nfloat64 x\n", "t/msg/T")
        message: Any = {"x": 1.0}
        for _ in range(14):
            message = {"s": "abc", "a": [message] if many else message}
        assert test.decode(test.encode({"a": message})) == Decoded({"a": message}, True, None)
    for kind in ("float64", "bool", "string", "bool[2]", "float32[2]", "Time"):
        flat = codec("".join(f"{kind} a{n}\n" for n in range(3000)).replace("Time", "builtin_interfaces/Time"))
        assert flat.decode(bytes(flat.encode(flat.decode(cdr("") + bytes(24000)).message))).exact
    assert cpu_s(lambda: codec("".join(f"string a{n}\n" for n in range(9999)))) < 50 * pace_s()
    huge = codec("".join(f"float32[64] a{n}\n" for n in range(400)))  # too many values for a decoder of its own
    message = {f"a{n}": [0.5] * 64 for n in range(400)}
    assert huge.decode(huge.encode(message)) == Decoded(message, True, None)


def test_names_are_only_names() -> None:
    """Python's words, and the decoder's own variables, are names like others."""
    names = ["class", "import", "data", "p", "ok", "end", "None", "v0", "Z", "u32", "exec"]
    test = codec("".join(f"uint8 {name}\n" for name in names))
    message = {name: n for n, name in enumerate(names)}
    assert test.decode(test.encode(message)) == Decoded(message, True, None)


IDL = """
// comment: struct { " unclosed
#include "x/msg/Y.idl"
module a { module msg {
  const uint32 N = 3;
  typedef double double__9[9];
  module B_Constants { const string S = "struct }; \\" /* "; };
  @verbatim (language="comment", text="it's ( a \\" text")
  struct B {
    @default (value=5) unsigned long long big, huge;
    double__9 nine; sequence<octet, N> s; string<5> t; a::msg::C c; };
  struct C { long x[N]; boolean b; };
}; };
"""


def test_idl() -> None:
    idl = Definition("a/msg/B", "ros2idl", f"{SEPARATOR}\nIDL: a/msg/B\n{IDL}")
    text = "uint64 big\nuint64 huge\nfloat64[9] nine\nbyte[<=3] s\nstring<=5 t\nC c\n"
    msg = Definition("a/msg/B", "ros2msg", f"{text}{SEPARATOR}\nMSG: a/C\nint32[3] x\nbool b\n")
    assert type_hash(idl) == type_hash(msg) != None  # noqa: E711
    data = bytes.fromhex("00010000") + bytes(200)
    assert Codec(idl).decode(data) == Codec(msg).decode(data)


@pytest.mark.parametrize(
    "text",
    [
        "module a { module msg { struct B { long double c; }; }; };",
        "module a { module msg { struct B { sequence<sequence<uint8>> x; }; }; };",
        "module a { module msg { struct B { uint8 x[2][3]; }; }; };",
        "module a { module msg { typedef B C; typedef C B; struct B { B x; }; }; };",
        "module a { module msg { const uint32 N = 1 << 99999999999; struct B { uint8 x[N]; }; }; };",
        "module a { module msg { union B switch (long) { case 1: long x; }; }; };",
        "module a { module msg { struct B { uint8 x;",
        "module a { module msg { struct B { uint8 '; }; }; };",
        "module a { module msg { struct B { uint8 x::y; }; }; };",
        "module a { module msg { struct B { uint8 5; }; }; };",
        "struct B",
        "}" * 1000,
        "module a {" * 50_000,
        "module a {" * 20_000 + "struct B {" + "x y;" * 20_000,
        "@(" * 100_000,
        '"' + '\\"' * 100_000,
        "/*" * 100_000,
        "(" * 100_000,
        "module a { module msg { struct B { " + "sequence<" * 20_000 + "}; }; };",
    ],
)  # fmt: skip
def test_idl_that_cannot_be_used(text: str) -> None:

    def use() -> None:
        with pytest.raises(RecordingError):
            Codec(Definition("a/msg/B", "ros2idl", text))

    assert cpu_s(use) < 200 * pace_s()


# -- real recordings


def test_real_bags(shared_data: Path) -> None:
    seen: Counter[tuple[str, bool]] = Counter()
    codecs: dict[str, Codec] = {}
    paths = sorted((shared_data / "bags").glob("*/*.mcap")) + sorted((shared_data / "bags").glob("*/*.db3"))
    assert paths
    for path in paths:
        bag = McapFile(path) if path.suffix == ".mcap" else SqliteFile(path)
        for message in bag.messages():
            if message.type not in codecs:
                codecs[message.type] = builtin(message.type)
            decoded = codecs[message.type].decode(message.data)
            again = codecs[message.type].encode(orjson.loads(orjson.dumps(decoded.message)))
            assert decoded.exact is (again == message.data)
            assert len(again) == len(message.data)
            seen[message.type, decoded.exact] += 1
        bag.close()
    assert seen == {
        ("geometry_msgs/msg/PoseStamped", True): 1565,
        ("nav_msgs/msg/Odometry", True): 2130,
        ("rcl_interfaces/msg/Log", False): 2,  # padding that is not zero
        ("rcl_interfaces/msg/Log", True): 8,
        ("sensor_msgs/msg/BatteryState", True): 1565,
        ("sensor_msgs/msg/Imu", True): 1565,
        ("std_msgs/msg/String", True): 6084,
    }


def test_builtin_definition() -> None:
    definition = builtin_definition("sensor_msgs/Imu")
    assert definition is not None
    assert (definition.type, definition.encoding) == ("sensor_msgs/msg/Imu", "ros2msg")
    assert f"{SEPARATOR}\nMSG: std_msgs/Header\n" in definition.text
    assert type_hash(definition) == "RIHS01_7d9a00ff131080897a5ec7e26e315954b8eae3353c3f995c55faf71574000b5b"
    assert builtin_definition("my_msgs/msg/Arm") is None
