"""Other packages add transforms by entry point."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from perf_inference.errors import ConfigError, InputError
from perf_inference.tasks.policy import plugins
from perf_inference.tasks.policy.chunks.guards import Guards
from perf_inference.tasks.policy.contract.parse import parse_contract
from perf_inference.tasks.policy.messages import message_form
from perf_inference.tasks.policy.observing import transforms
from perf_inference.tasks.policy.widths import width_of

CODE = """
def double(values):
    return values * 2
double.width = lambda n: n
def broken(values):
    raise KeyError("no")
"""
ENTRIES = """[perf_inference.transforms]
double = my_plugin_package:double
broken = my_plugin_package:broken
absent = my_plugin_package:absent
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Install a package with plug-ins."""
    (tmp_path / "my_plugin_package.py").write_text(CODE)
    info = tmp_path / "my_plugin_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my_plugin_package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRIES)
    monkeypatch.syspath_prepend(str(tmp_path))
    for cache in (plugins._found, transforms._named):
        cache.cache_clear()
    yield
    sys.modules.pop("my_plugin_package", None)
    for cache in (plugins._found, transforms._named):
        cache.cache_clear()


def _contract(name: str) -> str:
    return (
        "observations:\n- {input: x, topic: t, type: std_msgs/msg/Float64MultiArray, fields: ['data[0:2]'], "
        f"transform: {name}}}\nactions:\n- {{output: a, kind: velocity, names: [j]}}\n"
    )


@pytest.mark.usefixtures("installed")
def test_a_transform_of_another_package() -> None:
    term = parse_contract(_contract("double"), "c").observations[0]
    made = transforms.transform_of(term.transform, None)
    assert made is not None
    assert made.apply(np.array([1.0, 2.0])).tolist() == [2.0, 4.0]
    assert width_of(term, 1, lambda kind, path: 2) == 2
    broken = transforms.transform_of("broken", None)
    assert broken is not None
    with pytest.raises(InputError, match="transform broken failed on a sample: KeyError"):
        broken.apply(np.zeros(1))
    with pytest.raises(ConfigError, match=r"plug-in 'absent' .* cannot be loaded: AttributeError"):
        transforms.transform_of("absent", None)


GUARDS = """
import numpy as np
def half(q, q_dot, proposed):
    return proposed / 2, "half of it"
def never(q, q_dot, proposed):
    return None, "never"
def odd(q, q_dot, proposed):
    return [np.nan], "odd"
"""


def test_guards_have_their_say_before_the_gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_guard_package.py").write_text(GUARDS)
    info = tmp_path / "my_guard_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my_guard_package\nVersion: 1.0\n")
    names = ("half", "never", "odd")
    entries = "".join(f"{name} = my_guard_package:{name}\n" for name in names)
    (info / "entry_points.txt").write_text(f"[perf_inference.guards]\n{entries}")
    monkeypatch.syspath_prepend(str(tmp_path))
    plugins._found.cache_clear()
    here, rest, proposed = np.zeros(2), np.zeros(2), np.array([1.0, 2.0])
    assert Guards(["half", "half"]).allow(here, rest, proposed).tolist() == [0.25, 0.5]
    assert Guards([]).allow(here, rest, proposed).tolist() == [1.0, 2.0]
    with pytest.raises(InputError, match="guard never refuses a command: never: not sent"):
        Guards(["half", "never"]).allow(here, rest, proposed)
    with pytest.raises(InputError, match="guard odd must allow 2 finite numbers"):
        Guards(["odd"]).allow(here, rest, proposed)
    with pytest.raises(ConfigError, match="no installed package registers 'other'"):
        Guards(["other"])
    plugins._found.cache_clear()


MESSAGES = """
wheels = {"type": "geometry_msgs/msg/TwistStamped", "values": {"left": "twist.linear.x"}, "stamp": "header.stamp"}
def made():
    return {"type": "sensor_msgs/msg/JointState", "values": "velocity", "names": "name"}
odd = {"type": "sensor_msgs/msg/JointState", "value": "velocity"}
numbers = {"type": "sensor_msgs/msg/JointState", "values": 3}
nothing = 3
"""


def test_a_message_says_which_field_gets_what(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_message_package.py").write_text(MESSAGES)
    info = tmp_path / "my_message_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my_message_package\nVersion: 1.0\n")
    names = ("wheels", "made", "odd", "numbers", "nothing")
    entries = "".join(f"{name} = my_message_package:{name}\n" for name in names)
    (info / "entry_points.txt").write_text(f"[perf_inference.messages]\n{entries}")
    monkeypatch.syspath_prepend(str(tmp_path))
    plugins._found.cache_clear()
    assert message_form("wheels").values == {"left": "twist.linear.x"}
    assert message_form("made").names == "name"
    for name, said in {
        "odd": "unexpected keyword argument 'value'",
        "numbers": "by texts",
        "nothing": "mapping",
    }.items():
        with pytest.raises(ConfigError, match=rf"plug-in '{name}' of perf_inference.messages must .*{said}"):
            message_form(name)
    text = _contract("gravity").replace("['data[0:2]'], transform: gravity", "['data[0:2]']")
    contract = parse_contract(text.replace("names: [j]", "names: [j], message: wheels"), "c")
    assert contract.actions[0].message == "wheels"
    with pytest.raises(ConfigError, match=r"message must be one of Float64MultiArray, .*wheels"):
        parse_contract(text.replace("names: [j]", "names: [j], message: tracks"), "c")
    plugins._found.cache_clear()


def test_what_no_package_registers_is_refused() -> None:
    with pytest.raises(ConfigError, match="transform must be one of gravity"):
        parse_contract(_contract("double"), "c")
    with pytest.raises(ConfigError, match="no installed package registers 'double'"):
        plugins.plugin(transforms.GROUP, "double")
