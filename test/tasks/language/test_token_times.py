"""First-token time and tokens per second as the task tells them, against a loop that is timed by hand."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from support import captioners  # noqa: E402

from perf_inference.engines import Options, load  # noqa: E402
from perf_inference.tasks.language.caption import CaptionTask  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.timing]
_ROUNDS, _TOKENS = 30, 12


class ByHand:
    """The same network as a script would write it, a step at a time, timed by hand."""

    def __init__(self, weights: Mapping[str, Any], see: Any) -> None:
        self.w = {k.removeprefix("decoder."): v for k, v in weights.items() if k.startswith("decoder.")}
        self.cell = torch.nn.LSTMCell(self.w["decode_step.weight_ih"].shape[1], self.w["init_h.weight"].shape[0])
        self.cell.load_state_dict({k.removeprefix("decode_step."): v for k, v in self.w.items() if "decode_step" in k})
        self.see = see

    def linear(self, name: str, x: Any) -> Any:
        return torch.nn.functional.linear(x, self.w[f"{name}.weight"], self.w[f"{name}.bias"])

    def run(self, image: Any) -> tuple[float, float]:
        """Return first-token time [ms] and tokens per second."""
        with torch.inference_mode():
            begin = time.perf_counter_ns()
            seen = self.see(torch.from_numpy(image))
            keys, mean = self.linear("attention.encoder_att", seen), seen.mean(1)
            state = self.linear("init_h", mean), self.linear("init_c", mean)
            token, times = torch.tensor([captioners.WORDS.index("<start>")]), []
            for _ in range(_TOKENS):
                met = torch.relu(keys + self.linear("attention.decoder_att", state[0])[:, None])
                attention = self.linear("attention.full_att", met).softmax(1)
                context = torch.sigmoid(self.linear("f_beta", state[0])) * (seen * attention).sum(1)
                state = self.cell(torch.cat([self.w["embedding.weight"][token], context], 1), state)
                score, token = self.linear("fc", state[0]).softmax(1).max(1)
                float(score), int(token)
                times.append(time.perf_counter_ns())
        return (times[0] - begin) / 1e6, (len(times) - 1) * 1e9 / (times[-1] - times[0])


def test_times_are_those_of_a_hand_timed_loop(tmp_path: Path) -> None:
    weights = captioners.weights(hidden=64, attention=32)
    weights["decoder.fc.bias"][captioners.WORDS.index("<end>")] = -100.0  # it never ends by itself
    words = {"vocabulary": json.dumps(captioners.WORDS)}
    torch.save({"state_dict": weights, "metadata": words, "architecture": "attention_lstm"}, tmp_path / "a.pth")
    engine = load(str(tmp_path / "a.pth"), options=Options(max_tokens=_TOKENS, threads=1))
    task = CaptionTask(engine)
    inputs, context = task.preprocess(np.random.default_rng(0).integers(0, 256, (256, 256, 3)).astype(np.uint8))
    by_hand = ByHand(weights, engine._talker._see)  # type: ignore[attr-defined]
    image = inputs["image"]
    told, timed = [], []
    for turn in range(_ROUNDS + 3):
        for which in ((0, 1), (1, 0))[turn % 2]:
            if which:
                timed.append(by_hand.run(image))
            else:
                said = task.extra(task.postprocess(engine.infer(inputs), context), context)
                told.append((said["first_token_ms"], said["tokens_per_s"]))
    engine.close()
    _hold("attention-LSTM", told[3:], timed[3:])


class Timed:
    """A streamer that a script would give to `generate`: it takes down when each token came."""

    def __init__(self) -> None:
        self.times_ns: list[int] = []
        self._prompt = True

    def put(self, value: Any) -> None:
        if not self._prompt:
            value.tolist()
            self.times_ns.append(time.perf_counter_ns())
        self._prompt = False

    def end(self) -> None:
        pass


@pytest.mark.parametrize("kind", ["vision_encoder_decoder", "llava"])
def test_times_of_a_folder_are_those_of_generate_timed_by_hand(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    from support import hf_folders

    engine: Any = load(str(hf_folders.FOLDERS[kind](tmp_path / kind)), options=Options(max_tokens=_TOKENS, threads=1))
    engine._model.generation_config.eos_token_id = None  # it never ends by itself
    task = CaptionTask(engine)
    said: list[str] = []
    task.on_text = said.append  # the words are made, too
    inputs, context = task.preprocess(np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8))

    def ours() -> tuple[float, float]:
        extra = task.extra(task.postprocess(engine.infer(inputs), context), context)
        return float(extra["first_token_ms"] or 0), float(extra["tokens_per_s"] or 0)

    def by_hand() -> tuple[float, float]:
        begin, timed = time.perf_counter_ns(), Timed()
        asked = engine._asked(inputs["image"], "")
        with torch.inference_mode():
            engine._model.generate(**asked, max_new_tokens=_TOKENS, do_sample=False, streamer=timed)
        times = timed.times_ns
        return (times[0] - begin) / 1e6, (len(times) - 1) * 1e9 / (times[-1] - times[0])

    told, timed = [], []
    for turn in range(_ROUNDS + 3):
        for which in ((0, 1), (1, 0))[turn % 2]:
            (timed if which else told).append(by_hand() if which else ours())
    engine.close()
    assert said
    _hold(kind, told[3:], timed[3:])


def _hold(what: str, told: list[tuple[float, float]], timed: list[tuple[float, float]]) -> None:
    """Print the medians, and hold the differences to 5 % or 0.3 ms."""
    (first, rate), (first_wanted, rate_wanted) = (np.median(np.array(a), axis=0) for a in (told, timed))
    # Round by round: what else runs here slows both of a round alike.
    apart_ms = np.median(np.array(told)[:, 0] - np.array(timed)[:, 0])
    per_token_ms = np.median(1e3 / np.array(told)[:, 1] - 1e3 / np.array(timed)[:, 1])
    print(
        f"\n{what}: first token {first:.3f} ms, by hand {first_wanted:.3f} ({apart_ms:+.3f}); {rate:.0f} tokens/s, by "
        f"hand {rate_wanted:.0f} ({per_token_ms:+.4f} ms a token)"
    )
    assert abs(apart_ms) <= max(0.3, 0.05 * first_wanted)
    assert abs(per_token_ms) <= max(0.3, 0.05 * 1e3 / rate_wanted)
