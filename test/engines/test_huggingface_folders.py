"""Hugging Face folders against transformers' own `generate`; what is missing, foreign or would run code is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from support import hf_folders  # noqa: E402

from perf_inference import model_build  # noqa: E402
from perf_inference.engines import Options, load  # noqa: E402
from perf_inference.errors import ConfigError, InputError  # noqa: E402
from perf_inference.tasks.language.caption import Caption, CaptionTask  # noqa: E402
from perf_inference.testing.engine_contract import check_engine  # noqa: E402

pytestmark = pytest.mark.torch
_IMAGE = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("folders")
    return {name: make(root / name) for name, make in hf_folders.FOLDERS.items()}


def _caption(folder: Path, prompt: str = "", said: list[str] | None = None, **options: Any) -> Caption:
    engine = load(str(folder), options=Options(**options))
    try:
        task = CaptionTask(engine, prompt, options.get("beams", 0), options.get("max_tokens", 0))
        if said is not None:
            task.on_text = said.append
        inputs, context = task.preprocess(_IMAGE)
        found = task.postprocess(engine.infer(inputs), context)
        if said is not None:
            extra = task.extra(found, context)
            assert 0 < extra["prefill_ms"] <= extra["first_token_ms"]  # type: ignore[operator]
        return found
    finally:
        engine.close()


def _generated(folder: Path, prompt: str, **how: Any) -> str:
    """What transformers says by itself."""
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(_IMAGE[..., ::-1]))
    model = transformers.AutoModelForImageTextToText.from_pretrained(folder)
    words = transformers.AutoTokenizer.from_pretrained(folder)
    if folder.name == "vision_encoder_decoder":
        inputs = transformers.AutoImageProcessor.from_pretrained(folder)(images=image, return_tensors="pt")
    else:
        processor = transformers.AutoProcessor.from_pretrained(folder)
        if folder.name == "llava":
            text = f"user: <image> {prompt} assistant:"
            inputs = processor(text=[text], images=[image], return_tensors="pt")
        elif prompt:
            inputs = processor(images=image, text=prompt, return_tensors="pt")
        else:
            inputs = processor(images=image, return_tensors="pt")
    out = model.generate(**inputs, do_sample=False, **how)[0]
    if folder.name == "llava":
        out = out[inputs["input_ids"].shape[1] :]
    text: str = words.decode(out, skip_special_tokens=True)
    return text


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize(
    ("name", "prompt"),
    [("vision_encoder_decoder", ""), ("blip", ""), ("blip", "a photo of"), ("git", ""), ("llava", "what is red?")],
)
def test_the_text_is_what_generate_gives(folders: dict[str, Path], name: str, prompt: str, beams: int) -> None:
    found = _caption(folders[name], prompt, beams=beams, max_tokens=12)
    assert found.text == _generated(folders[name], prompt, max_new_tokens=12, num_beams=beams)
    assert found.tokens == len(found.token_ids) > 0
    assert found.score is not None
    assert 0 <= found.score <= 1


@pytest.mark.parametrize("name", hf_folders.FOLDERS)
def test_partial_words_add_up_to_the_sentence(folders: dict[str, Path], name: str) -> None:
    said: list[str] = []
    found = _caption(folders[name], said=said, max_tokens=20)
    assert "".join(said) == found.text != ""


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_runs_in_other_precisions(folders: dict[str, Path], precision: str) -> None:
    engine = load(str(folders["llava"]), options=Options(precision=precision, max_tokens=3))
    assert engine.info.precision == precision
    assert ("int8_library" in engine.info.metadata) == (precision == "int8")
    engine.infer({"image": _IMAGE, "prompt": np.zeros(0, np.uint8)})
    engine.close()


def test_is_known_by_its_folder(folders: dict[str, Path]) -> None:
    plan = model_build.resolve(str(folders["git"]))
    assert plan.runtime.name == "transformers"
    model_build.check(plan)


def test_a_model_without_a_prompt_refuses_one(folders: dict[str, Path]) -> None:
    with pytest.raises(InputError, match="answers no questions"):
        _caption(folders["vision_encoder_decoder"], "what is red?")


def _copy(folder: Path, target: Path) -> Path:
    target.mkdir()
    for file in folder.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    return target


def _no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def _pickle(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def _remote_code(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModel": "evil.Model"}}))
    (folder / "evil.py").write_text("raise SystemExit('executed')")


def _remote_tokenizer(folder: Path) -> None:
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(
        json.dumps({**config, "auto_map": {"AutoTokenizer": ["evil.T", None]}})
    )


def _no_tokenizer(folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json", "processor_config.json", "special_tokens_map.json"):
        (folder / name).unlink(missing_ok=True)


def _wrong_tokenizer(folder: Path) -> None:
    hf_folders.tokenizer(340).save_pretrained(folder)


def _cut_weights(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])


def _no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def _text_only(folder: Path) -> None:
    config = transformers.LlamaConfig(vocab_size=300, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
                                      num_attention_heads=2)  # fmt: skip
    transformers.LlamaForCausalLM(config).save_pretrained(folder)


def _checked(folder: Path) -> None:
    model_build.check(str(folder))
    _caption(folder)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_no_weights, "it has no weights"),
        (_pickle, r"pytorch_model\.bin' is a pickle"),
        (_remote_code, "code of the model's own"),
        (_remote_tokenizer, "code of the model's own"),
        (_no_tokenizer, "tokenizer"),
        (_wrong_tokenizer, "another model's"),
        (_cut_weights, "was cut|no model that reads"),
        (_no_config, "no model that save_pretrained wrote"),
        (_text_only, "no model that reads images"),
    ],
)
def test_a_spoilt_folder_is_refused_in_a_sentence(
    folders: dict[str, Path], tmp_path: Path, spoil: Any, words: str
) -> None:
    folder = _copy(folders["llava"], tmp_path / "model")
    spoil(folder)
    with pytest.raises(ConfigError, match=words) as raised:
        _checked(folder)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["vision_encoder_decoder", "llava"])
def test_keeps_the_contract_of_engines(folders: dict[str, Path], name: str) -> None:
    rng = np.random.default_rng(1)
    first, second = (
        {
            "image": rng.integers(0, 256, (48, side, 3)).astype(np.uint8) // (1 + side % 48),
            "prompt": np.zeros(0, np.uint8),
        }
        for side in (48, 64)
    )
    check_engine(lambda: load(str(folders[name]), options=Options(max_tokens=6)), (first, second))
