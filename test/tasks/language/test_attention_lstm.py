"""The attention-LSTM captioner against PyTorch written out: any size, pruned, exported, greedy and beams."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from support import captioners  # noqa: E402
from support.captioners import WORDS  # noqa: E402

from perf_inference import model_build  # noqa: E402
from perf_inference.engines import Options, load  # noqa: E402
from perf_inference.errors import ConfigError  # noqa: E402
from perf_inference.tasks.language.caption import CaptionTask  # noqa: E402
from perf_inference.tasks.language.encoders import encoder  # noqa: E402
from perf_inference.tasks.language.named_weights import NamedWeights  # noqa: E402

pytestmark = pytest.mark.torch

Weights = Mapping[str, Any]
functional = torch.nn.functional


def _save(path: Path, weights: Weights, **more: Any) -> Path:
    torch.save(
        {"model_state_dict": dict(weights), "epoch": 3, "word_map": {w: i for i, w in enumerate(WORDS)}, **more}, path
    )
    return path


def _image(seed: int = 0) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(0, 256, (256, 256, 3)).astype(np.uint8)


def _features(weights: Weights, image: Any) -> Any:
    """ResNet written out: RGB, normalised, to [1, 14 * 14, channels]."""
    w = {k.removeprefix("encoder.resnet."): v for k, v in weights.items()}

    def conv_norm(x: Any, conv: str, norm: str, stride: int) -> Any:
        kernel = w[f"{conv}.weight"]
        x = functional.conv2d(x, kernel, None, stride, kernel.shape[2] // 2)
        return functional.batch_norm(
            x, w[f"{norm}.running_mean"], w[f"{norm}.running_var"], w[f"{norm}.weight"], w[f"{norm}.bias"]
        )

    rgb = torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1)[None].float() / 255
    mean, std = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    x = functional.max_pool2d(torch.relu(conv_norm((rgb - mean) / std, "conv1", "bn1", 2)), 3, 2, 1)
    for layer in (1, 2, 3, 4):
        for block in (0, 1):
            name, stride = f"layer{layer}.{block}", 2 if layer > 1 and block == 0 else 1
            y = torch.relu(conv_norm(x, f"{name}.conv1", f"{name}.bn1", stride))
            y = conv_norm(y, f"{name}.conv2", f"{name}.bn2", 1)
            if f"{name}.downsample.0.weight" in w:
                x = conv_norm(x, f"{name}.downsample.0", f"{name}.downsample.1", stride)
            x = torch.relu(x + y)
    return functional.adaptive_avg_pool2d(x, 14).flatten(2).transpose(1, 2)


class Reference:
    """The decoder written out, a step at a time."""

    def __init__(self, weights: Weights, image: Any) -> None:
        self.w = {k.removeprefix("decoder."): v for k, v in weights.items()}
        self.seen = _features(weights, image)
        hidden = self.w["decode_step.weight_hh"].shape[1]
        self.cell = torch.nn.LSTMCell(self.w["decode_step.weight_ih"].shape[1], hidden)
        self.cell.load_state_dict({k.removeprefix("decode_step."): v for k, v in self.w.items() if "decode_step" in k})

    def linear(self, name: str, x: Any) -> Any:
        return functional.linear(x, self.w[f"{name}.weight"], self.w[f"{name}.bias"])

    def begin(self) -> Any:
        mean = self.seen.mean(1)
        return self.linear("init_h", mean), self.linear("init_c", mean)

    def step(self, token: int, state: Any) -> Any:
        h, c = state
        met = torch.relu(
            self.linear("attention.encoder_att", self.seen) + self.linear("attention.decoder_att", h)[:, None]
        )
        attention = self.linear("attention.full_att", met).softmax(1)
        context = torch.sigmoid(self.linear("f_beta", h)) * (self.seen * attention).sum(1)
        h, c = self.cell(torch.cat([self.w["embedding.weight"][[token]], context], 1), (h, c))
        return self.linear("fc", h)[0].log_softmax(0), (h, c)

    @torch.no_grad()
    def greedy(self, steps: int) -> list[int]:
        state, token, said = self.begin(), WORDS.index("<start>"), []
        for _ in range(steps):
            logs, state = self.step(token, state)
            token = int(logs.argmax())
            if token == WORDS.index("<end>"):
                break
            said.append(token)
        return said

    @torch.no_grad()
    def search(self, beams: int, steps: int) -> list[int]:
        """Plain beam search: lists of (sum of logs, words, state)."""
        end = WORDS.index("<end>")
        alive: list[Any] = [(0.0, [WORDS.index("<start>")], self.begin())]
        done: list[Any] = []
        for _ in range(steps):
            every = []
            for total, words, state in alive:
                logs, after = self.step(words[-1], state)
                every += [(total + float(logs[n]), [*words, n], after) for n in range(len(WORDS))]
            best = sorted(every, key=lambda one: -one[0])[:beams]
            done += [one for one in best if one[1][-1] == end]
            alive = [one for one in best if one[1][-1] != end]
            if not alive:
                break
        words = max(done or alive, key=lambda one: one[0])[1][1:]
        return [word for word in words if word != end]


def _caption(path: Path, image: Any, runtime: str = "auto", **options: Any) -> Any:
    engine = model_build.load(str(path), runtime, Options(**options))
    try:
        task = CaptionTask(engine)
        inputs, context = task.preprocess(image)
        return task.postprocess(engine.infer(inputs), context)
    finally:
        engine.close()


@pytest.mark.parametrize(("width", "hidden", "attention"), [(4, 12, 8), (6, 20, 5)])
@pytest.mark.parametrize("seed", range(4))
def test_greedy_is_what_plain_pytorch_says(tmp_path: Path, seed: int, width: int, hidden: int, attention: int) -> None:
    weights = captioners.weights(seed, width, hidden, attention)
    file = _save(tmp_path / "captioner.pth", weights)
    for image in (_image(seed), np.zeros((256, 256, 3), np.uint8)):
        found = _caption(file, image, max_tokens=12)
        wanted = Reference(weights, image).greedy(12)
        assert list(found.token_ids) == wanted
        assert found.text == " ".join(WORDS[n] for n in wanted if n not in (0, 1))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("beams", [2, 5])
def test_beams_are_what_plain_lists_find(tmp_path: Path, seed: int, beams: int) -> None:
    weights = captioners.weights(seed)
    file = _save(tmp_path / "captioner.pth", weights)
    found = _caption(file, _image(seed), beams=beams, max_tokens=8)
    assert list(found.token_ids) == Reference(weights, _image(seed)).search(beams, 8)


@pytest.mark.parametrize("beams", [1, 3])
def test_onnx_says_the_same(tmp_path: Path, beams: int) -> None:
    file = _save(tmp_path / "captioner.pth", captioners.weights(1))
    for seed in range(3):
        ours = _caption(file, _image(seed), beams=beams, max_tokens=8)
        exported = _caption(file, _image(seed), "onnx", beams=beams, max_tokens=8)
        assert exported.token_ids == ours.token_ids
        assert exported.text == ours.text
        np.testing.assert_allclose(exported.scores, ours.scores, atol=1e-4)


def test_pruned_weights_are_multiplied_by_their_masks(tmp_path: Path) -> None:
    weights = captioners.weights(2)
    masks = {k: (torch.rand_like(v) > 0.4).float() for k, v in weights.items() if v.ndim == 4}
    split = {k: v for k, v in weights.items() if k not in masks}
    split |= {f"{k}_orig": weights[k] for k in masks} | {f"{k}_mask": v for k, v in masks.items()}
    file = _save(tmp_path / "pruned.pth", {f"module.{k}": v for k, v in split.items()})
    pruned = {k: v * masks.get(k, torch.ones(())) if v.is_floating_point() else v for k, v in weights.items()}
    found = _caption(file, _image(), max_tokens=10)
    assert list(found.token_ids) == Reference(pruned, _image()).greedy(10)
    del split[f"{next(iter(masks))}_mask"]
    with pytest.raises(ConfigError, match="without a mask"):
        _caption(_save(tmp_path / "half.pth", split), _image())


def test_training_scripts_may_leave_encoder_and_decoder_apart(tmp_path: Path) -> None:
    weights = captioners.weights(3)
    parts: dict[str, dict[str, Any]] = {"encoder": {}, "decoder": {}}
    for name, tensor in weights.items():
        room, _, rest = name.partition(".")
        parts[room][f"module.{rest}"] = tensor
    wanted = Reference(weights, _image()).greedy(10)
    vocab = {str(number): word for number, word in enumerate(WORDS)}
    for key, content in (
        ("a", {"encoder_state_dict": parts["encoder"], "decoder_state_dict": parts["decoder"], "idx2word": vocab}),
        ("b", {**parts, "epoch": 3, "vocab": WORDS}),
        ("c", {"state_dict": parts, "optimizer": {"lr": 0.1}, "vocab": {"itos": WORDS}}),
    ):
        torch.save(content, tmp_path / f"{key}.pth")
        assert list(_caption(tmp_path / f"{key}.pth", _image(), max_tokens=10).token_ids) == wanted, key


def test_words_may_lie_beside_the_weights(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    weights = captioners.weights(4)
    save_file({k: v.contiguous() for k, v in weights.items()}, tmp_path / "captioner.safetensors")
    with pytest.raises(ConfigError, match=r"words\.json"):
        _caption(tmp_path / "captioner.safetensors", _image())
    (tmp_path / "words.json").write_text(json.dumps({word: number for number, word in enumerate(WORDS)}))
    found = _caption(tmp_path / "captioner.safetensors", _image(), max_tokens=10)
    assert list(found.token_ids) == Reference(weights, _image()).greedy(10)
    (tmp_path / "words.json").write_text('{"a": "b"}')
    with pytest.raises(ConfigError, match="list of words"):
        _caption(tmp_path / "captioner.safetensors", _image())


@pytest.mark.parametrize(
    ("made", "stride"),
    [
        (captioners.resnet(), 32),
        (captioners.resnet(bottleneck=True), 32),
        (captioners.resnet(by_number=True), 32),
        (captioners.mobilenet(), 32),
        (captioners.efficientnet(), 32),
    ],
    ids=["resnet", "bottleneck", "by_number", "mobilenet", "efficientnet"],
)
@pytest.mark.parametrize("prefix", ["", "encoder.", "encoder.backbone."])
def test_encoders_are_known_by_their_names(made: Weights, stride: int, prefix: str) -> None:
    named = NamedWeights({f"{prefix}{k}": v for k, v in made.items()})
    module = encoder(named)
    named.check_all_taken()
    with torch.no_grad():
        assert module(torch.zeros(1, 3, 2 * stride, 3 * stride)).shape[2:] == (2, 3)


@pytest.mark.parametrize("precision", ["fp16", "bf16", "int8"])
def test_runs_in_other_precisions(tmp_path: Path, precision: str) -> None:
    engine = load(str(_save(tmp_path / "captioner.pth", captioners.weights())), options=Options(precision=precision))
    assert engine.info.precision == precision
    task = CaptionTask(engine)
    inputs, context = task.preprocess(_image())
    assert task.postprocess(engine.infer(inputs), context).tokens > 0
    engine.close()


def test_tells_each_word_as_it_is_known(tmp_path: Path) -> None:
    engine = load(str(_save(tmp_path / "captioner.pth", captioners.weights())), options=Options(max_tokens=6))
    task = CaptionTask(engine)
    said: list[str] = []
    task.on_text = said.append
    inputs, context = task.preprocess(_image())
    found = task.postprocess(engine.infer(inputs), context)
    extra = task.extra(found, context)
    assert "".join(said) == found.text
    assert 0 < extra["prefill_ms"] <= extra["first_token_ms"]  # type: ignore[operator]
    engine.close()


def test_other_weights_are_refused(tmp_path: Path) -> None:
    weights = captioners.weights()
    lost = {k: v for k, v in weights.items() if "init_c" not in k}
    with pytest.raises(ConfigError, match="init_c"):
        _caption(_save(tmp_path / "lost.pth", lost), _image())
    with pytest.raises(ConfigError, match=r"no place for 'decoder\.extra\.weight'"):
        _caption(_save(tmp_path / "more.pth", {**weights, "decoder.extra.weight": torch.zeros(2)}), _image())
    seen = {k: v for k, v in weights.items() if not k.startswith("encoder.")}
    with pytest.raises(ConfigError, match="ResNet, MobileNetV2 or EfficientNet"):
        _caption(_save(tmp_path / "blind.pth", seen), _image())
