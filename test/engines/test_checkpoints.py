"""Checkpoints: what is written is read, those of others are taken where they hold weights, and no file does harm."""

from __future__ import annotations

import collections
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from support import torch_models  # noqa: E402
from support.paths import SUPPORT, search_path  # noqa: E402

from perf_inference.engines import Options, load  # noqa: E402
from perf_inference.engines.pytorch.checkpoint import Checkpoint, load_checkpoint, save_checkpoint  # noqa: E402
from perf_inference.errors import ConfigError  # noqa: E402

pytestmark = pytest.mark.torch

SUFFIXES = (".safetensors", ".pt", ".pth")


class Runs:
    """What a pickle can do: call a function when it is read."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


def weights() -> dict[str, Any]:
    return dict(torch_models.network().state_dict())


def refused(path: Path, says: str, **options: Any) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        load(str(path), "torch", Options(**options))
    assert "\n" not in str(caught.value)


def same(checkpoint: Checkpoint) -> bool:
    wanted = weights()
    return checkpoint.weights.keys() == wanted.keys() and all(
        torch.equal(checkpoint.weights[name], tensor) for name, tensor in wanted.items()
    )


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_checkpoint_is_read_as_it_was_written(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    save_checkpoint(path, "reacher", weights(), {"task": "policy"})
    checkpoint = load_checkpoint(path)
    assert same(checkpoint)
    assert (checkpoint.architecture, checkpoint.metadata) == ("reacher", {"task": "policy"})
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_weights_that_share_memory_or_are_views_are_written_as_they_look(tmp_path: Path) -> None:
    one = torch.arange(12.0).reshape(3, 4)
    for suffix in SUFFIXES:
        save_checkpoint(tmp_path / f"a{suffix}", "x", {"one": one, "same": one, "turned": one.T, "part": one[1:, :2]})
        read = load_checkpoint(tmp_path / f"a{suffix}").weights
        assert torch.equal(read["turned"], one.T)
        assert torch.equal(read["part"], one[1:, :2])
        assert torch.equal(read["same"], one)


def test_a_checkpoint_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, "reacher", weights())
    with pytest.raises(Exception, match=r"metadata|str"):
        save_checkpoint(path, "reacher", weights(), {"task": 7})  # type: ignore[dict-item]
    assert same(load_checkpoint(path))
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    with pytest.raises(ConfigError, match="needs an architecture and one of"):
        save_checkpoint(tmp_path / "a.bin", "reacher", weights())


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model", ""])
@pytest.mark.parametrize("wrapper", ["", "module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
def test_checkpoints_of_others_are_taken(key: str, wrapper: str, tmp_path: Path) -> None:
    wrapped = collections.OrderedDict((wrapper + name, tensor) for name, tensor in weights().items())
    left = {"epoch": 3, "optimizer": {"lr": 0.1, "state": [torch.ones(2)]}, "metadata": {"not": 1}}
    torch.save({**left, key: wrapped} if key else wrapped, tmp_path / "a.pt")
    assert same(load_checkpoint(tmp_path / "a.pt"))
    refused(tmp_path / "a.pt", "does not say which network .* set architecture to one of .*reacher")
    load(str(tmp_path / "a.pt"), options=Options(architecture="reacher")).close()


def test_a_checkpoint_in_the_old_format_is_read(tmp_path: Path) -> None:
    torch.save(weights(), tmp_path / "a.pt", _use_new_zipfile_serialization=False)
    assert same(load_checkpoint(tmp_path / "a.pt"))


@pytest.mark.parametrize("old", [False, True])
def test_no_pickle_is_run_unless_it_is_allowed(old: bool, tmp_path: Path) -> None:
    ran, path = tmp_path / "ran", tmp_path / "a.pt"
    content = {"architecture": "reacher", "state_dict": weights(), "extra": Runs(f"touch {ran}")}
    torch.save(content, path, _use_new_zipfile_serialization=not old)
    refused(path, r"asks for (posix|nt)\.system while .* save the weights alone .* allow_pickle: true if you trust")
    assert not ran.exists()
    load(str(path), options=Options(allow_pickle=True)).close()
    assert ran.exists()


def test_a_bare_pickle_is_no_checkpoint(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    (tmp_path / "a.pt").write_bytes(pickle.dumps(Runs(f"touch {ran}")))
    refused(tmp_path / "a.pt", "no checkpoint of PyTorch|asks for")
    assert not ran.exists()


def test_of_a_whole_pickled_network_the_weights_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save({"model": torch_models.network(), "epoch": 1}, path)
    refused(path, r"asks for support\.torch_models\.Reacher", architecture="reacher")
    assert same(load_checkpoint(path, allow_pickle=True))
    load(str(path), options=Options(allow_pickle=True, architecture="reacher")).close()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ([1, 2], "holds list, not the weights of a network"),
        ({}, "holds dict, not the weights"),
        ({"epoch": 3}, "holds more than weights: 'epoch' is a int"),
        ({"a": torch.ones(2), 3: torch.ones(2)}, "holds more than weights: 3 is a Tensor"),
        ({"a": torch.full((2,), torch.nan)}, "weight 'a' in .* has values that are no numbers"),
        ({"a": torch.ones(1).expand(10**12)}, "claims .*, more than the file holds"),
        ({"a": torch.ones(3, device="meta")}, "save it dense"),
        ({"a": torch.ones(3).to_sparse()}, "save it dense"),
        ({"a": torch.ones(3, dtype=torch.complex64)}, "save it dense"),
        ({"architecture": "reacher", "state_dict": {"a": torch.ones(1)}, "metadata": {"a": 1}}, "words to words"),
        ({"architecture": "nobody", "state_dict": {"a": torch.ones(1)}}, "'nobody' is not registered"),
        ({"architecture": "reacher", "state_dict": {"a": torch.ones(1)}}, "does not fit .*: it has no"),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_no_checkpoint_is_refused(content: Any, says: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "a.pt")
    refused(tmp_path / "a.pt", says)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_weights_that_do_not_fit_the_network_are_named(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    for changes, says in (
        ({"act.bias": torch.ones(3)}, "does not fit architecture 'reacher': .*act.bias"),
        ({"new": torch.ones(3)}, "does not fit architecture 'reacher': .*new"),
        ({"look.weight": torch.ones(())}, "does not fit architecture 'reacher': "),
    ):
        save_checkpoint(path, "reacher", {**weights(), **changes})
        refused(path, says)
    save_checkpoint(path, "reacher", {name: tensor for name, tensor in weights().items() if name != "act.bias"})
    refused(path, "does not fit architecture 'reacher': .*act.bias")


def test_a_builder_that_leaves_weights_out_is_found(tmp_path: Path) -> None:
    from perf_inference.engines import architectures

    def lenient(loaded: Any, metadata: Any) -> architectures.Architecture:
        network = torch_models.network()
        network.load_state_dict(dict(loaded), strict=False)
        return architectures.Architecture(network, torch_models.INPUTS, torch_models.OUTPUTS)

    architectures.register("lenient", lenient)
    short = {name: tensor for name, tensor in weights().items() if name != "act.bias"}
    save_checkpoint(tmp_path / "short.pt", "lenient", short)
    refused(tmp_path / "short.pt", "'lenient': it has no 'act.bias'")
    save_checkpoint(tmp_path / "long.pt", "lenient", {**weights(), "a": torch.ones(1), "b": torch.ones(1)})
    refused(tmp_path / "long.pt", "'lenient': the network has no 'a', 'b'")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_cut_short_or_empty_is_refused(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    save_checkpoint(path, "reacher", weights())
    whole = path.read_bytes()
    for size in (0, 1, 7, 8, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        refused(path, "damaged")


def test_a_bit_turned_over_in_the_weights_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    save_checkpoint(path, "reacher", weights())
    data = bytearray(path.read_bytes())
    data[data.index(weights()["act.weight"].numpy().tobytes()) + 1] ^= 4
    path.write_bytes(data)
    refused(path, r"data/\d+ does not match its checksum")


def test_an_archive_that_unpacks_to_far_more_than_it_is_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    save_checkpoint(path, "reacher", weights())
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive, archive.open("a/data/99", "w") as bomb:
        for _ in range(80):
            bomb.write(bytes(2**20))
    assert path.stat().st_size < 10**6
    refused(path, "claims to hold 84 MB, more than PyTorch puts into it")


@pytest.mark.parametrize(
    "header",
    [
        b'{"a":{"dtype":"F32","shape":[1000000000000,1000],"data_offsets":[0,8]}}',
        b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,99999999]}}',
        b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}',
        b'{"a":{"dtype":"F32","shape":[18446744073709551615,2],"data_offsets":[0,8]}}',
        b'{"a":{"dtype":"X99","shape":[2],"data_offsets":[0,8]}}',
        b'{"__metadata__":{"architecture":7}}',
        b"[" * 5000,
        b"\xff" * 40,
    ],
    ids=lambda header: header[:60].decode("latin1"),
)
def test_a_safetensors_header_that_lies_is_refused(header: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    for length in (len(header), 2**63, 2**40, 0):
        path.write_bytes(struct.pack("<Q", length) + header + bytes(8))
        refused(path, "no safetensors file, or is damaged")


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".torchscript", ".pt2"])
def test_damaged_files_never_end_the_process(suffix: str, tmp_path: Path) -> None:
    path = torch_models.write(tmp_path / f"a{suffix}")
    fuzz = [sys.executable, "-P", str(SUPPORT / "torch_fuzz.py"), str(path), "25", "7"]
    done = subprocess.run(
        fuzz, env={**os.environ, "PYTHONPATH": search_path()}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    loaded, refused_ = (int(word) for word in done.stdout.split() if word.isdigit())
    assert loaded + refused_ == 25
    assert refused_ > 10
