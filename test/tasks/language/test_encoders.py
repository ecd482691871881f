"""What sees in a captioner, in values: the encoders written out here, and encoders that are ONNX files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from support import captioners  # noqa: E402

from perf_inference import model_build  # noqa: E402
from perf_inference.engines import Options, load  # noqa: E402
from perf_inference.errors import ConfigError  # noqa: E402
from perf_inference.model_build.content import files_of  # noqa: E402
from perf_inference.tasks.language.caption import CaptionTask  # noqa: E402
from perf_inference.tasks.language.encoders import encoder  # noqa: E402
from perf_inference.tasks.language.named_weights import NamedWeights  # noqa: E402

pytestmark = pytest.mark.torch

Weights = Mapping[str, Any]
functional = torch.nn.functional


class Written:
    """Layers by the names of their weights."""

    def __init__(self, weights: Weights) -> None:
        self.w = weights

    def conv_norm(self, x: Any, conv: str, norm: str, stride: int = 1) -> Any:
        kernel = self.w[f"{conv}.weight"]
        groups = x.shape[1] // kernel.shape[1]  # depthwise where a filter sees one channel
        x = functional.conv2d(x, kernel, None, stride, (kernel.shape[2] - 1) // 2, groups=groups)
        mean, var = self.w[f"{norm}.running_mean"], self.w[f"{norm}.running_var"]
        return functional.batch_norm(x, mean, var, self.w[f"{norm}.weight"], self.w[f"{norm}.bias"], eps=1e-5)


def mobilenet(weights: Weights, x: Any) -> Any:
    """MobileNetV2 (arXiv 1801.04381, table 2): blocks of t, n, s; added where nothing changes its shape."""
    net = Written(weights)
    x = functional.relu6(net.conv_norm(x, "features.0.0", "features.0.1", 2))
    block = 1
    for t, n, s in ((1, 1, 1), (6, 2, 2), (6, 3, 2), (6, 4, 2), (6, 3, 1), (6, 3, 2), (6, 1, 1)):
        for number in range(n):
            name, stride, y = f"features.{block}.conv", s if number == 0 else 1, x
            at = 0
            if t > 1:
                y = functional.relu6(net.conv_norm(y, f"{name}.0.0", f"{name}.0.1"))
                at = 1
            y = functional.relu6(net.conv_norm(y, f"{name}.{at}.0", f"{name}.{at}.1", stride))
            y = net.conv_norm(y, f"{name}.{at + 1}", f"{name}.{at + 2}")
            x = x + y if stride == 1 and number > 0 else y  # the first of each row has other channels
            block += 1
    return functional.relu6(net.conv_norm(x, "features.18.0", "features.18.1"))


def efficientnet(weights: Weights, x: Any) -> Any:
    """EfficientNet-B0 (arXiv 1905.11946, table 1): MBConv with squeeze and excitation."""
    net = Written(weights)
    x = functional.silu(net.conv_norm(x, "features.0.0", "features.0.1", 2))
    for stage, (t, n, s) in enumerate(((1, 1, 1), (6, 2, 2), (6, 2, 2), (6, 3, 2), (6, 3, 1), (6, 4, 2), (6, 1, 1)), 1):
        for number in range(n):
            name, y, at = f"features.{stage}.{number}.block", x, 0
            if t > 1:
                y = functional.silu(net.conv_norm(y, f"{name}.0.0", f"{name}.0.1"))
                at = 1
            y = functional.silu(net.conv_norm(y, f"{name}.{at}.0", f"{name}.{at}.1", s if number == 0 else 1))
            squeezed = functional.adaptive_avg_pool2d(y, 1)
            for part, act in (("fc1", functional.silu), ("fc2", torch.sigmoid)):
                full = f"{name}.{at + 1}.{part}"
                squeezed = act(functional.conv2d(squeezed, weights[f"{full}.weight"], weights[f"{full}.bias"]))
            y = net.conv_norm(y * squeezed, f"{name}.{at + 2}.0", f"{name}.{at + 2}.1")
            x = x + y if number > 0 else y
    return functional.silu(net.conv_norm(x, "features.8.0", "features.8.1"))


@pytest.mark.parametrize("written", [mobilenet, efficientnet])
@pytest.mark.parametrize("side", [64, 97])
def test_encoders_give_the_values_of_their_papers(written: Any, side: int) -> None:
    torch.manual_seed(3)
    weights = {"mobilenet": captioners.mobilenet, "efficientnet": captioners.efficientnet}[written.__name__]()
    weights = {k: v * 1.5 if v.ndim == 4 else v for k, v in weights.items()}  # so that what is deep still counts
    image = torch.randn(1, 3, side, side)
    with torch.no_grad():
        found, wanted = encoder(NamedWeights(weights))(image), written(weights, image)
    assert found.shape == wanted.shape
    assert float(wanted.std()) > 0.01
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def _image(seed: int = 0) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(0, 256, (256, 256, 3)).astype(np.uint8)


def _caption(path: Path, runtime: str = "auto", **options: Any) -> Any:
    engine = model_build.load(str(path), runtime, Options(**options))
    try:
        task = CaptionTask(engine)
        inputs, context = task.preprocess(_image())
        return task.postprocess(engine.infer(inputs), context)
    finally:
        engine.close()


class Arranged(torch.nn.Module):
    """An encoder whose features come in one of the ways that scripts export."""

    def __init__(self, net: Any, how: str) -> None:
        super().__init__()
        self.net, self.how = net, how

    def forward(self, x: Any) -> Any:
        x = self.net(x)
        if self.how == "cells":
            return x.flatten(2).transpose(1, 2)
        return x.permute(0, 2, 3, 1) if self.how == "last" else x


def _split(folder: Path, how: str = "first", opset: int = 17, decoder: str = "decoder.") -> tuple[Path, Path]:
    """Write a captioner whole, and again as a decoder with its encoder as an ONNX file; return both checkpoints."""
    weights = captioners.weights(5)
    words = {word: number for number, word in enumerate(captioners.WORDS)}
    apart = folder / "apart"
    apart.mkdir(parents=True)
    torch.save({"model_state_dict": weights, "word_map": words}, folder / "whole.pth")
    seen = {k.removeprefix("encoder."): v for k, v in weights.items() if k.startswith("encoder.")}
    told = {decoder + k.removeprefix("decoder."): v for k, v in weights.items() if k.startswith("decoder.")}
    torch.save({"state_dict": told, "word_map": words}, apart / "decoder.pth")
    torch.onnx.export(Arranged(encoder(NamedWeights(seen)), how).eval(), (torch.zeros(1, 3, 256, 256),),
                      str(apart / "encoder.onnx"), opset_version=opset, dynamo=False)  # fmt: skip
    return folder / "whole.pth", apart / "decoder.pth"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("how", "opset", "decoder"), [("first", 17, "decoder."), ("last", 13, ""), ("cells", 18, "decoder.")]
)
def test_an_encoder_may_be_an_onnx_file_beside_the_decoder(tmp_path: Path, how: str, opset: int, decoder: str) -> None:
    whole, apart = _split(tmp_path, how, opset, decoder)
    wanted, found = _caption(whole, max_tokens=10), _caption(apart, max_tokens=10)
    assert found.token_ids == wanted.token_ids
    np.testing.assert_allclose(found.scores, wanted.scores, rtol=1e-4)
    exported = _caption(apart, "onnx", max_tokens=10, beams=1)
    assert exported.token_ids == wanted.token_ids
    assert len(files_of(apart)) == 2


@pytest.mark.filterwarnings("ignore")
def test_the_encoder_of_a_file_runs_in_other_precisions_of_the_decoder(tmp_path: Path) -> None:
    whole, apart = _split(tmp_path)
    for precision in ("fp16", "bf16", "int8"):
        engine = load(str(apart), options=Options(precision=precision, max_tokens=3))
        assert engine.info.precision == precision
        task = CaptionTask(engine)
        inputs, context = task.preprocess(_image())
        assert task.postprocess(engine.infer(inputs), context).tokens > 0
        engine.close()
    both = [load(str(path)) for path in (whole, apart)]
    counts = [engine.parameters for engine in both]  # type: ignore[attr-defined]
    assert counts[1] == pytest.approx(counts[0], rel=0.05)  # the export folds the normalisations in
    for engine in both:
        engine.close()


@pytest.mark.filterwarnings("ignore")
def test_encoders_that_do_not_fit_are_refused_by_name(tmp_path: Path) -> None:
    import onnx

    _, apart = _split(tmp_path)
    file = apart.parent / "encoder.onnx"
    good = file.read_bytes()
    with pytest.raises(ConfigError, match="exported as ONNX only"):
        _caption(apart, "torchscript")
    file.write_bytes(good[:5000])
    with pytest.raises(ConfigError, match=r"encoder\.onnx"):
        _caption(apart)
    model = onnx.load_from_string(good)
    outside = model.graph.initializer[0].external_data.add()
    outside.key, outside.value = "location", "/etc/hostname"
    model.graph.initializer[0].data_location = onnx.TensorProto.EXTERNAL
    file.write_bytes(model.SerializeToString())
    with pytest.raises(ConfigError, match="must hold all its weights itself"):
        _caption(apart)
    for net, words in (
        (torch.nn.Conv2d(3, 7, 3, 8), "the decoder reads 32 channels"),
        (torch.nn.Flatten(), "the decoder reads 32 channels"),
    ):
        torch.onnx.export(net.eval(), (torch.zeros(1, 3, 64, 64),), str(file), dynamo=False)
        with pytest.raises(ConfigError, match=words):
            _caption(apart)
    torch.onnx.export(torch.nn.Linear(4, 4), (torch.zeros(1, 4),), str(file), dynamo=False)
    with pytest.raises(ConfigError, match="one square image"):
        _caption(apart)
    file.unlink()
    with pytest.raises(ConfigError, match=r"a file encoder\.onnx beside"):
        _caption(apart)
