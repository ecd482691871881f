"""Tiny wav2vec2 folders of random weights, and WAV files of any kind."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

LETTERS = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "|": 4, **{c: n + 5 for n, c in enumerate("abcdefghij")}}


def wav2vec2(folder: Path, kind: str = "ctc", seed: int = 0) -> Path:
    from transformers import (
        Wav2Vec2Config,
        Wav2Vec2CTCTokenizer,
        Wav2Vec2FeatureExtractor,
        Wav2Vec2ForCTC,
        Wav2Vec2ForSequenceClassification,
        Wav2Vec2Processor,
    )

    config = Wav2Vec2Config(
        vocab_size=len(LETTERS), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16,
        conv_dim=(8, 8, 8), conv_stride=(5, 8, 8), conv_kernel=(10, 8, 8), num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2, classifier_proj_size=8, num_feat_extract_layers=3, pad_token_id=0,
        id2label={0: "yes", 1: "no", 2: "stop"}, label2id={"yes": 0, "no": 1, "stop": 2},
    )  # fmt: skip
    torch.manual_seed(seed)
    model = (Wav2Vec2ForCTC if kind == "ctc" else Wav2Vec2ForSequenceClassification)(config)
    head = model.lm_head if kind == "ctc" else model.classifier
    with torch.no_grad():
        head.weight.mul_(200)  # so that words follow the sound
    model.save_pretrained(folder)
    extractor = Wav2Vec2FeatureExtractor(feature_size=1, sampling_rate=16_000, do_normalize=True)
    if kind != "ctc":
        extractor.save_pretrained(folder)
        return folder
    (folder / "vocab.json").write_text(json.dumps(LETTERS))
    Wav2Vec2Processor(extractor, Wav2Vec2CTCTokenizer(str(folder / "vocab.json"))).save_pretrained(folder)
    return folder


def wav(
    path: Path, samples: NDArray[np.float64], rate_hz: int = 16_000, bits: int = 16, floating: bool = False
) -> Path:
    """Write samples [N] or [N, channels] in [-1, 1]."""
    samples = samples.reshape(len(samples), -1)
    if floating:
        data = samples.astype("<f4" if bits == 32 else "<f8").tobytes()
    elif bits == 8:
        data = np.round(samples * 127 + 128).astype(np.uint8).tobytes()
    else:
        numbers = np.round(samples * (2 ** (bits - 1) - 1)).astype("<i4")
        raw = numbers.tobytes() if bits == 32 else numbers.reshape(-1, 1).view(np.uint8)[:, : bits // 8].tobytes()
        data = raw
    path.write_bytes(header(len(data), samples.shape[1], rate_hz, bits, 3 if floating else 1) + data)
    return path


def header(size: int, channels: int, rate_hz: int, bits: int, kind: int = 1) -> bytes:
    block = channels * bits // 8
    form = struct.pack("<HHIIHH", kind, channels, rate_hz, rate_hz * block, block, bits)
    return (
        b"RIFF"
        + struct.pack("<I", 36 + size)
        + b"WAVEfmt "
        + struct.pack("<I", 16)
        + form
        + b"data"
        + struct.pack("<I", size)
    )


def tone(seconds: float, rate_hz: int = 16_000, seed: int = 0) -> Any:
    """Return a sound that changes ten times a second."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    pitch = rng.uniform(100, 3000, 1 + int(seconds * 10))[(t * 10).astype(int)]
    return 0.5 * np.sin(2 * np.pi * pitch * t)
