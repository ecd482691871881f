"""Entry points are those of importlib.metadata, which is asked where there may be any."""

from __future__ import annotations

import importlib.metadata
import sys
import zipfile
from pathlib import Path

import pytest

from perf_inference import entry_points as own
from perf_inference.entry_points import entry_points

_GROUP = "perf_inference.of_a_test"
_TEXT = f"[{_GROUP}]\nnuts = theirs:ROW\n"


def _about(folder: Path) -> None:
    folder.mkdir(parents=True)
    for name in ("METADATA", "PKG-INFO"):
        (folder / name).write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text(_TEXT)


@pytest.mark.parametrize(
    ("folder", "on_path"),
    [
        ("theirs-1.0.dist-info", "."),
        ("Theirs-1.0.Dist-Info", "."),
        ("theirs.egg-info", "."),
        ("theirs-1.0-py3.11.egg/EGG-INFO", "theirs-1.0-py3.11.egg"),
        ("theirs-1.0.egg/egg-info", "theirs-1.0.egg"),
        ("other-1.0.dist-info.kept", "."),
        ("deeper/theirs-1.0.dist-info", "."),
    ],
)
def test_the_same_as_of_importlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str, on_path: str) -> None:
    _about(tmp_path / folder)
    monkeypatch.syspath_prepend(str(tmp_path / on_path))
    expected = tuple(importlib.metadata.entry_points(group=_GROUP))
    assert entry_points(_GROUP) == expected
    assert len(expected) == (0 if folder.endswith("kept") or folder.startswith("deeper") else 1)


def test_of_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _about(tmp_path / "theirs-1.0.dist-info")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    assert [point.name for point in entry_points(_GROUP)] == ["nuts"]


def test_of_an_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "theirs.zip", "w") as archive:
        archive.writestr("theirs-1.0.dist-info/METADATA", "Name: theirs\nVersion: 1.0\n")
        archive.writestr("theirs-1.0.dist-info/entry_points.txt", _TEXT)
    monkeypatch.setattr(sys, "path", [str(tmp_path / "theirs.zip"), *sys.path])
    assert [point.value for point in entry_points(_GROUP)] == ["theirs:ROW"]


def test_of_who_finds_packages_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _about(tmp_path / "theirs-1.0.dist-info")

    class Elsewhere(importlib.metadata.DistributionFinder):
        def find_spec(self, name: str, path: object = None, target: object = None) -> None:
            return None

        def find_distributions(self, context: object = None) -> list[importlib.metadata.Distribution]:
            return [importlib.metadata.PathDistribution(tmp_path / "theirs-1.0.dist-info")]

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Elsewhere()])
    assert [point.name for point in entry_points(_GROUP)] == ["nuts"]


def test_importlib_is_not_asked_for_a_group_that_nobody_names() -> None:
    assert not own._may_be_named("perf_inference.no_such_group_at_all")
    assert own._may_be_named("console_scripts")
