"""The package's files agree with each other: names, versions, executables, data files."""

import ast
import configparser
import re
import xml.etree.ElementTree as ET
from typing import Any

import pytest
from support.paths import ROOT

from perf_inference._version import VERSION
from perf_inference.bringup.executables import NODES

PACKAGE = ET.parse(ROOT / "package.xml").getroot()
SETUP = (ROOT / "setup.py").read_text()

# Keys of rosdep, and packages of every distribution from Humble to Rolling, looked up in rosdistro.
KNOWN_TO_ROSDEP = {
    *("launch", "launch_ros", "lifecycle_msgs", "rclpy"),
    *(
        "builtin_interfaces",
        "rosgraph_msgs",
        "diagnostic_msgs",
        "geometry_msgs",
        "rcl_interfaces",
        "sensor_msgs",
        "std_msgs",
        "std_srvs",
        "trajectory_msgs",
    ),
    *("vision_msgs", "diagnostic_updater", "cv_bridge"),
    *("python3-numpy", "python3-opencv", "python3-psutil", "python3-rich", "python3-yaml", "python3-pytest"),
}


def keyword(name: str) -> str:
    found = re.search(rf'^    {name}="([^"]+)"', SETUP, re.MULTILINE)
    assert found, f"setup.py gives no {name}"
    return found[1]


def constant(name: str) -> Any:
    for node in ast.parse(SETUP).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == name:
            return ast.literal_eval(node.value)
    raise AssertionError(f"setup.py gives no {name}")


def test_the_versions_agree() -> None:
    versions = re.findall(r"^(\d+\.\d+\.\d+) \(.+\)\n-+$", (ROOT / "CHANGELOG.rst").read_text(), re.MULTILINE)
    assert PACKAGE.findtext("version") == VERSION == versions[0]


def test_the_licence_is_the_same_everywhere() -> None:
    assert PACKAGE.findtext("license") == keyword("license") == "Apache-2.0"
    assert "Apache License\n                           Version 2.0" in (ROOT / "LICENSE").read_text()


def test_package_xml_is_of_an_ament_python_package() -> None:
    assert PACKAGE.get("format") == "3"
    assert PACKAGE.findtext("name") == "perf_inference"
    assert PACKAGE.findtext("export/build_type") == "ament_python"


def test_package_xml_has_only_keys_that_rosdep_knows() -> None:
    keys = {element.text for element in PACKAGE if element.tag.endswith("depend")}
    assert keys <= KNOWN_TO_ROSDEP


def test_executables_are_installed_where_ros_looks() -> None:
    config = configparser.ConfigParser(interpolation=None)
    config.read(ROOT / "setup.cfg")
    assert config["develop"]["script_dir"] == "$base/lib/perf_inference"
    assert config["install"]["install_scripts"] == "$base/lib/perf_inference"
    assert (ROOT / "resource" / "perf_inference").is_file()


@pytest.mark.parametrize("module", ["cli", *(f"nodes.{node}" for node in NODES)])
def test_each_entry_point_has_its_main(module: str) -> None:
    path = ROOT.joinpath("perf_inference", *module.split(".")).with_suffix(".py")
    functions = [node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)]
    assert "main" in functions


@pytest.mark.parametrize("pattern", ["launch/*.py", "config/*.yaml", "perf_inference/models/*.onnx"])
def test_there_are_data_files_to_install(pattern: str) -> None:
    files = list(ROOT.glob(pattern))
    assert files
    assert all(file.stat().st_size > 0 for file in files)


def test_the_embedded_models_are_under_two_megabytes() -> None:
    for model in ROOT.glob("perf_inference/models/*.onnx"):
        assert model.stat().st_size < 2_000_000, model.name


def test_every_requirement_is_accounted_for() -> None:
    listed = (ROOT / "docs" / "dependencies.md").read_text()
    extras = constant("EXTRAS")
    for requirement in [*constant("REQUIRES"), *(line for lines in extras.values() for line in lines)]:
        name = re.split(r"[\[<>=]", requirement)[0]
        assert name in listed, f"docs/dependencies.md does not say why {name}"
    for extra in extras:
        assert f"`{extra}`" in listed


def test_the_lower_bounds_above_known_holes_are_explained() -> None:
    """A bound that is changed is looked up again, and its reason written down."""
    rows = re.findall(r"^\| ([\w-]+) \| ([\d.]+) \|", (ROOT / "docs" / "dependencies.md").read_text(), re.MULTILINE)
    explained = dict(rows)
    assert {"numpy", "orjson", "onnx", "torch", "protobuf", "opencv-python-headless", "setuptools"} <= explained.keys()
    for requirement in [*constant("REQUIRES"), *(line for lines in constant("EXTRAS").values() for line in lines)]:
        name, _, bound = requirement.partition(">=")
        name, bound = re.split(r"\[", name)[0], bound.partition(",")[0]
        if name in explained:
            assert bound == explained[name], f"{name} must be at least {explained[name]}, setup.py has {bound}"


def test_one_onnx_runtime_is_installed_and_not_two() -> None:
    """Both packages fill one folder; what was installed last runs, and may be without the GPU (onnxruntime#26996)."""
    names = {line.partition(">=")[0] for line in constant("REQUIRES")}
    assert not [name for name in names if name.startswith("onnxruntime")]
    bringing = {
        extra: [line.partition(">=")[0].partition("[")[0] for line in lines if line.startswith("onnxruntime")]
        for extra, lines in constant("EXTRAS").items()
    }
    assert {extra: names for extra, names in bringing.items() if names} == {
        "cpu": ["onnxruntime"], "cuda": ["onnxruntime-gpu"],
    }  # fmt: skip
