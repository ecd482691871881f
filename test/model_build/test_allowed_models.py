"""What `model` may become at run time: paths, links, addresses, contents, and files that change under way."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import stat
import threading
from pathlib import Path

import onnx
import pytest
import yaml
from onnx import TensorProto, helper

from perf_inference import engines
from perf_inference.engines import MODELS
from perf_inference.errors import ConfigError
from perf_inference.model_build import AllowedModels, cache
from perf_inference.model_build.private_copy import copy_hashed, private_copy, remove_left_over

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERF_INFERENCE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of models."""
    made = tmp_path / "models"
    made.mkdir()
    for name in ("a", "b"):
        copy_of("policy.onnx", made / f"{name}.onnx")
    return made


def copy_of(name: str, path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes((MODELS / name).read_bytes())
    path.chmod(0o644)
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def refused(allowed: AllowedModels, model: object, says: str = ".") -> str:
    """Return the sentence with which it is refused: not too long, and printable."""
    with pytest.raises(ConfigError, match=says) as caught, private_copy(str(model), allowed):
        pass
    said = str(caught.value)
    assert said.isprintable()
    assert len(said) < 1500
    return said


def loads(allowed: AllowedModels, model: object) -> None:
    with private_copy(str(model), allowed) as (file, _):
        engines.load(file).close()


def line(said: str) -> list[str]:
    """Return the list that a refusal says to add to the parameters."""
    found = re.search(r"`(allowed_models: \[.*\])`", said)
    assert found, said
    listed: list[str] = yaml.safe_load(found[1])["allowed_models"]
    return listed


def test_without_a_list_it_is_the_folder_of_the_model_and_embedded_names(folder: Path, tmp_path: Path) -> None:
    allowed = AllowedModels.of(str(folder / "a.onnx"), ())
    for model in (folder / "a.onnx", folder / "b.onnx", "detector", MODELS / "policy.onnx"):
        loads(allowed, model)
    other = copy_of("policy.onnx", tmp_path / "other" / "c.onnx")
    below = copy_of("policy.onnx", folder / "below" / "c.onnx")
    for model in (other, below, folder / ".." / "other" / "c.onnx"):
        said = refused(allowed, model, "may not be loaded at run time")
        loads(AllowedModels.of(str(folder / "a.onnx"), line(said)), model)
        loads(AllowedModels.of(str(folder / "a.onnx"), line(said)), folder / "b.onnx")
    refused(AllowedModels.of("policy", ()), folder / "a.onnx", "may not be loaded")


def test_a_list_takes_the_place_of_the_folder_but_not_of_the_model(folder: Path, tmp_path: Path) -> None:
    other = copy_of("policy.onnx", tmp_path / "other" / "c.onnx")
    allowed = AllowedModels.of(str(folder / "a.onnx"), [str(other)])
    for model in (other, folder / "a.onnx", "policy"):
        loads(allowed, model)
    assert line(refused(allowed, folder / "b.onnx", "may not be loaded")) == [str(folder), str(other)]
    assert AllowedModels.of(str(folder / "a.onnx"), [""]).check(str(folder / "b.onnx")).in_place


def test_a_path_counts_where_its_links_lead(folder: Path, tmp_path: Path) -> None:
    outside = copy_of("policy.onnx", tmp_path / "outside" / "c.onnx")
    (folder / "link.onnx").symlink_to(outside)
    (tmp_path / "to_outside").symlink_to(outside.parent)
    (folder / "loop.onnx").symlink_to(folder / "loop.onnx")
    (folder / "zero.onnx").symlink_to("/dev/zero")
    (folder / "environ.onnx").symlink_to("/proc/self/environ")
    allowed = AllowedModels.of(str(folder / "a.onnx"), ())
    refused(allowed, folder / "link.onnx", "may not be loaded")
    refused(allowed, tmp_path / "to_outside" / "c.onnx", "may not be loaded")
    refused(allowed, folder / "loop.onnx", "loop|neither a file nor")
    refused(allowed, folder / "zero.onnx", "may not be loaded")
    refused(allowed, folder / "environ.onnx", "may not be loaded")
    (tmp_path / "to_models").symlink_to(folder)
    loads(allowed, tmp_path / "to_models" / "b.onnx")
    loads(AllowedModels.of("policy", [str(tmp_path / "to_models")]), folder / "b.onnx")


@pytest.mark.parametrize("everywhere", [False, True], ids=["the folder", "/ is listed"])
def test_what_is_no_file_is_refused_and_never_waited_for(folder: Path, everywhere: bool) -> None:
    os.mkfifo(folder / "pipe.onnx")
    (folder / "folder.onnx").mkdir()
    allowed = AllowedModels.of(
        "policy", [str(folder), "/", "/dev", "/proc/self", "sha256:" + "0" * 64][: 5 if everywhere else 1]
    )
    for model in ("/dev/zero", "/dev/tty", "/proc/self/environ", "/proc/self/mem", folder / "pipe.onnx",
                  folder / "folder.onnx", folder, "/", ".", "", " ", "-", "~", "~nobody_of_this_name/a.onnx",
                  "a\x00.onnx", "\ud800.onnx", "\x1b[2J.onnx", "/" + "a" * 300 + ".onnx", "/a" * 2000, "a" * 10**6,
                  "a\n.onnx", "file:///etc/passwd", "file:/etc/passwd", "ftp://host/a.onnx",
                  "HTTP://host/a.onnx"):  # fmt: skip
        refused(allowed, model)


@pytest.mark.parametrize("model", ["http://host:8080/a", "http://HOST:8080/b", "http://host/a", "http://host:8080/v2/models/a",
                                   "http://host:8080/a/versions/2"])  # fmt: skip
def test_a_model_of_the_same_server_may_be_asked(model: str) -> None:
    AllowedModels.of("http://host:8080/first", ()).check(model)
    AllowedModels.of("policy", ["http://host:8080"]).check(model)
    AllowedModels.of("policy", ["http://host:8080/"]).check(model)


@pytest.mark.parametrize(
    "model",
    ["http://evil:8080/a", "http://host:8081/a", "https://host:8080/a", "grpc://host:8080/a", "http://host.:8080/a",
     "http://host:8080@evil/a", "http://host:8080@evil:8080/a", "http://evil:8080#@host:8080/a",
     "http://evil:8080?@host:8080/a", "http://evil\\@host:8080/a", "http://host:8080\\@evil/a", "http://host:8080.evil/a",
     "http://host:0x1f90/a", "http://host:80\uff18\u0660/a", "http://\uff48ost:8080/a", "http://host%00:8080/a",
     "http://hos%74:8080/a", "http://[::1]:8080/a", "http://[host]:8080/a", "http://:8080/a", "http:///a", "http://",
     "http://user@host:8080/a", "http://user:word@host:8080/a", "http://@host:8080/a", "http://host:8080", "HTTP://host:8080/a",
     " http://host:8080/a", "http://host:8080/a\n", "http://ho\tst:8080/a", "http://host:99999/a", "http://host:-1/a",
     "http:/host:8080/a", "http:host", "http://host:8080/../v2/models/a/../b", "//host:8080/a"],
)  # fmt: skip
def test_a_server_is_exactly_scheme_host_and_port(model: str) -> None:
    for allowed in (AllowedModels.of("http://host:8080/a", ()), AllowedModels.of("policy", ["http://host:8080"])):
        refused(allowed, model)


def test_an_entry_with_a_model_is_that_model_alone() -> None:
    allowed = AllowedModels.of("policy", ["grpc://[::1]:8081/a", "http://b/base/v2/models/c"])
    for model in ("grpc://[::1]:8081/a", "grpc://[::1]/a", "http://b/base/v2/models/c"):
        allowed.check(model)
    for model in ("grpc://[::1]:8081/b", "grpc://[::1]/a/versions/2", "http://b/c", "http://b/other/v2/models/c"):
        refused(allowed, model, "may not be loaded")
    assert line(refused(allowed, "https://[fe80::1]:1/a"))[0] == "https://[fe80::1]:1"


@pytest.mark.parametrize(
    "entry", ["sha256:12", "sha256:" + "g" * 64, "http://", "http://a:b", "grpc://user@host", "sha256:"]
)
def test_a_wrong_entry_stops_the_start(entry: str) -> None:
    with pytest.raises(ConfigError):
        AllowedModels.of("policy", [entry])


def test_a_file_that_others_can_write_goes_by_its_content(folder: Path) -> None:
    model = folder / "b.onnx"
    allowed = AllowedModels.of(str(folder / "a.onnx"), ())
    model.chmod(0o666)
    said = refused(allowed, model, r"everybody can write '\S+/b.onnx'")
    assert line(said) == ["sha256:HEX", str(folder)]
    listed = [entry.replace("HEX", sha256(model)) for entry in line(said)]
    loads(AllowedModels.of(str(folder / "a.onnx"), listed), model)
    loads(AllowedModels.of("policy", [listed[0].upper().replace("SHA256", "sha256")]), model)
    model.write_bytes(model.read_bytes() + b"\x00")
    said = refused(AllowedModels.of("policy", listed), model, "everybody can write")
    assert line(said)[0] == f"sha256:{sha256(model)}"
    model.chmod(0o644)
    folder.chmod(0o777)
    refused(allowed, folder / "a.onnx", rf"everybody can write '{folder}'")
    folder.chmod(0o1777)  # as /tmp: others cannot replace the file
    loads(allowed, folder / "a.onnx")
    folder.parent.chmod(0o733)
    refused(allowed, folder / "a.onnx", rf"everybody can write '{folder.parent}'")
    folder.parent.chmod(0o700)


def test_a_hash_tells_nothing_of_files_elsewhere(folder: Path, tmp_path: Path) -> None:
    secret = copy_of("policy.onnx", tmp_path / "home" / "secret.onnx")
    allowed = AllowedModels.of(str(folder / "a.onnx"), ["sha256:" + "0" * 64])
    there, absent = (refused(allowed, path, "may not be loaded") for path in (secret, secret.with_name("absent.onnx")))
    assert sha256(secret) not in there
    assert there.replace("secret", "absent") == absent
    refused(allowed, copy_of("policy.onnx", tmp_path / "home" / "id_rsa"), "must end in one of")


@ROOT
def test_a_group_with_other_members_and_another_owner_are_others(folder: Path) -> None:
    allowed = AllowedModels.of(str(folder / "a.onnx"), ())
    model = folder / "b.onnx"
    model.chmod(0o664)
    loads(allowed, model)  # root's own group
    os.chown(model, 0, 1)  # daemon is in it
    refused(allowed, model, r"group \w+ can write")
    os.chown(model, 0, 54321)  # nobody knows who is in it
    refused(allowed, model, "group 54321 can write")
    model.chmod(0o644)
    loads(allowed, model)
    os.chown(model, 54321, 0)
    refused(allowed, model, "user 54321 can write")


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".torchscript", ".ts", ".pt2", ".engine", ".plan", ".trt"])
def test_formats_that_can_hold_code_go_by_their_content(folder: Path, suffix: str) -> None:
    model = copy_of("policy.pt", folder / f"c{suffix}")
    said = refused(AllowedModels.of(str(folder / "a.onnx"), ()), model, f"a {suffix} file can hold code")
    with private_copy(str(model), AllowedModels.of("policy", [f"sha256:{sha256(model)}"])) as (file, listed):
        assert listed
        assert sha256(Path(file)) == sha256(model)
    model.write_bytes(b"another")
    again = AllowedModels.of("policy", [str(folder), "sha256:" + "0" * 64])
    assert f"sha256:{sha256(model)}" in line(refused(again, model, "can hold code"))
    assert "sha256:HEX" in line(said)


def test_an_onnx_file_that_holds_an_engine_goes_by_its_content(folder: Path) -> None:
    node = helper.make_node("EPContext", [], ["out"], domain="com.microsoft", ep_cache_context="../evil.engine")
    inner = helper.make_graph([node], "inner", [], [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1])])
    outer = helper.make_node("If", ["condition"], ["out"], then_branch=inner, else_branch=inner)
    for nodes in ([node], [outer]):
        graph = helper.make_graph(nodes, "g", [], [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1])])
        onnx.save(helper.make_model(graph), str(folder / "b.onnx"))
        said = refused(AllowedModels.of(str(folder / "a.onnx"), ()), folder / "b.onnx", "EPContext")
        with private_copy(str(folder / "b.onnx"), AllowedModels.of("policy", line(said))) as (_, listed):
            assert listed


def with_weights(path: Path, location: str, written_as: str = "weights.bin") -> Path:
    """Write a model whose weights lie in another file, and say that they lie at `location`."""
    model = onnx.load(str(MODELS / "policy.onnx"))
    onnx.save(model, str(path), save_as_external_data=True, location=written_as, size_threshold=0)
    path.with_name(written_as).chmod(0o644)
    model = onnx.load(str(path), load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    path.write_bytes(model.SerializeToString())
    path.chmod(0o644)
    return path


def test_weights_beside_the_model_are_taken_from_its_folder_alone(folder: Path, tmp_path: Path) -> None:
    allowed = AllowedModels.of(str(folder / "a.onnx"), ())
    loads(allowed, with_weights(folder / "c.onnx", "weights.bin"))
    (tmp_path / "outside.bin").write_bytes((folder / "weights.bin").read_bytes())
    (folder / "link.bin").symlink_to(tmp_path / "outside.bin")
    for location in ("../outside.bin", str(tmp_path / "outside.bin"), "link.bin", "../models/weights.bin", "c.onnx",
                     "", ".", "/dev/zero", "a\x1b[2J"):  # fmt: skip
        refused(allowed, with_weights(folder / "c.onnx", location), "not in its own folder")
    os.mkfifo(folder / "pipe.bin")
    refused(allowed, with_weights(folder / "c.onnx", "pipe.bin"), "must be a file")
    refused(allowed, with_weights(folder / "c.onnx", "absent.bin"), "cannot be copied")
    with_weights(folder / "c.onnx", "weights.bin")
    (folder / "weights.bin").chmod(0o666)
    said = refused(allowed, folder / "c.onnx", r"everybody can write '\S+/weights.bin'")
    loads(AllowedModels.of(str(folder / "a.onnx"), line(said)), folder / "c.onnx")


def test_weights_come_from_beside_the_file_and_not_from_beside_a_link_to_it(folder: Path, tmp_path: Path) -> None:
    model = with_weights(folder / "c.onnx", "weights.bin")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "c.onnx").symlink_to(model)
    (elsewhere / "weights.bin").write_bytes(bytes((folder / "weights.bin").stat().st_size))
    with private_copy(str(elsewhere / "c.onnx"), AllowedModels.of(str(folder / "a.onnx"), ())) as (file, _):
        assert sha256(Path(file).with_name("weights.bin")) == sha256(folder / "weights.bin")


def test_what_is_loaded_is_what_was_read_whatever_becomes_of_the_file(folder: Path) -> None:
    model = folder / "b.onnx"
    before = model.read_bytes()
    with private_copy(str(model), AllowedModels.of(str(folder / "a.onnx"), ())) as (file, _):
        model.write_bytes(b"something else")
        assert Path(file).read_bytes() == before
        assert stat.S_IMODE(Path(file).parents[1].stat().st_mode) == 0o700
        engines.load(file).close()
    assert not Path(file).parents[1].exists()


def test_of_a_file_that_changes_all_the_time_only_the_listed_content_is_loaded(folder: Path) -> None:
    good, evil, model = folder / "a.onnx", copy_of("detector.onnx", folder / "evil.onnx"), folder / "b.onnx"
    allowed = AllowedModels.of("policy", [f"sha256:{sha256(good)}"])
    done = threading.Event()

    def flip() -> None:
        while not done.is_set():
            for source in (good, evil):
                shutil.copy(source, folder / "next.onnx")
                (folder / "next.onnx").replace(model)
            model.unlink()
            model.symlink_to(evil)
            model.write_bytes(evil.read_bytes()[:5000])  # through the link
            evil.write_bytes((MODELS / "detector.onnx").read_bytes())

    attacker = threading.Thread(target=flip)
    attacker.start()
    taken = refusals = 0
    try:
        while (taken < 5 or refusals < 5) and taken + refusals < 5000:
            try:
                with private_copy(str(model), allowed) as (file, _):
                    taken += 1
                    assert sha256(Path(file)) == sha256(good)
            except ConfigError:  # noqa: PERF203
                refusals += 1
    finally:
        done.set()
        attacker.join()
    assert taken >= 5
    assert refusals >= 5


def test_a_link_or_a_pipe_put_in_place_of_the_file_is_not_opened(folder: Path) -> None:
    (folder / "link.onnx").symlink_to(folder / "a.onnx")
    os.mkfifo(folder / "pipe.onnx")
    for name in ("link.onnx", "pipe.onnx"):
        with pytest.raises(ConfigError, match="must be a file"):
            copy_hashed(folder / name, folder / "copy", lambda: False)
    with pytest.raises(ConfigError, match="nobody waits"):
        copy_hashed(folder / "a.onnx", folder / "copy", lambda: True)


def test_errors_name_the_users_file_and_nothing_is_left(folder: Path) -> None:
    model = folder / "b.onnx"
    model.write_bytes(model.read_bytes().replace(b"Gemm", b"Mmeg"))
    allowed = AllowedModels.of(str(folder / "a.onnx"), ())
    with pytest.raises(ConfigError, match=re.escape(f"'{model}'")), private_copy(str(model), allowed) as (file, _):
        engines.load(file)
    assert not list((cache.root() / "taken").iterdir())
    assert not list(cache.hashes().glob("*"))


def test_what_a_killed_node_left_is_removed_and_what_another_one_uses_is_not(folder: Path) -> None:
    allowed = AllowedModels.of(str(folder / "a.onnx"), ())
    left = cache.root() / "taken" / "left"
    left.mkdir(parents=True, mode=0o700)
    (left / ".lock").touch()
    with private_copy(str(folder / "b.onnx"), allowed) as (file, _):
        remove_left_over()
        assert not left.exists()
        assert Path(file).is_file()
    left.mkdir()
    with (left / ".lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        remove_left_over()
        assert left.exists()


def test_a_cache_that_others_can_write_takes_no_copy(folder: Path) -> None:
    cache.root().mkdir()
    cache.root().chmod(0o777)
    refused(AllowedModels.of(str(folder / "a.onnx"), ()), folder / "b.onnx", "must be a folder of your own")
