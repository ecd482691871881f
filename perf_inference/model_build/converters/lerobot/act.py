"""ACT as LeRobot trains it (Zhao et al. 2023, arXiv:2304.13705), with its scaling inside: raw arrays to real units.

The network is written anew, for inference alone (the latent is zero), under the names that LeRobot's weights have, so
that neither LeRobot nor torchvision is needed. Images come as uint8 [1, H, W, 3] in RGB, as a camera's driver has them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from perf_inference.engines.architectures import Architecture
from perf_inference.engines.engine import ArraySpec
from perf_inference.engines.lerobot.folder import Feature, features_of
from perf_inference.engines.lerobot.statistics import Scaling, Statistics
from perf_inference.errors import ConfigError
from perf_inference.model_build.converters.lerobot.resnet import resnet

_ACTIVATIONS: dict[str, Any] = {"relu": functional.relu, "gelu": functional.gelu, "glu": functional.glu}
_TRAINING = ("vae_encoder", "normalize_", "unnormalize_")  # weights that inference does not need
_TEMPERATURE, _EPS = 10_000, 1e-6  # of the positions' sine waves


def architecture(folder: Path, config: Mapping[str, Any], weights: Mapping[str, Any]) -> Architecture:
    """Return the network with the weights of a folder.

    Raises:
        ConfigError: weights or statistics are missing, or something that this network does not have.
    """
    inputs = features_of(config, "input_features", folder)
    action = next((f for f in features_of(config, "output_features", folder) if f.kind == "ACTION"), None)
    unknown = [f.name for f in inputs if f.kind not in ("STATE", "ENV", "VISUAL")]
    if action is None or unknown or config.get("n_obs_steps", 1) != 1:
        raise ConfigError(f"'{folder}' must be an ACT with one action, of state and images, got {', '.join(unknown)}")
    statistics = Statistics(folder, config, weights)
    network = _Policy(config, inputs, action, statistics)
    own = {name.removeprefix("model."): w for name, w in weights.items()}
    own = {name: w for name, w in own.items() if not name.startswith(_TRAINING)}
    try:
        network.model.load_state_dict(own)
    except RuntimeError as error:
        said = " ".join(str(error).split())
        raise ConfigError(f"the weights of '{folder}' are not those that its config.json says: {said[:400]}") from error
    return Architecture(network.eval(), tuple(map(_spec, inputs)), (action.name,))


def _spec(feature: Feature) -> ArraySpec:
    if feature.kind == "VISUAL":
        channels, height, width = feature.shape
        return ArraySpec(feature.name, (1, height, width, channels), np.dtype(np.uint8))
    return ArraySpec(feature.name, (1, *feature.shape), np.dtype(np.float32))


class _Scale(nn.Module):
    """To what the network wants, or back."""

    def __init__(self, scaling: Scaling, back: bool) -> None:
        super().__init__()
        self._mode, self._back = scaling.mode, back
        if scaling.values is not None:
            low, high = (torch.as_tensor(value, dtype=torch.float32) for value in scaling.values)
            if scaling.mode == "MEAN_STD":
                width = high if back else high + scaling.eps
            elif scaling.always_added:
                width = high - low if back else high - low + scaling.eps
            else:
                width = torch.where(high == low, torch.tensor(scaling.eps), high - low)
            self.register_buffer("low", low)
            self.register_buffer("width", width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self._mode == "IDENTITY":
            return x
        if self._mode == "MEAN_STD":
            return x * self.width + self.low if self._back else (x - self.low) / self.width
        return (x + 1) / 2 * self.width + self.low if self._back else 2 * (x - self.low) / self.width - 1


class _Policy(nn.Module):
    """Raw arrays in the order of the features -> actions [1, chunk, A] in real units."""

    def __init__(
        self, config: Mapping[str, Any], inputs: tuple[Feature, ...], action: Feature, statistics: Statistics
    ) -> None:
        super().__init__()
        self._kinds = [feature.kind for feature in inputs]
        self.scales = nn.ModuleList(_Scale(statistics.scaling(feature), back=False) for feature in inputs)
        self.back = _Scale(statistics.scaling(action, out=True), back=True)
        self.model = _Network(config, inputs, action)

    def forward(self, *arrays: torch.Tensor) -> torch.Tensor:
        vectors, images = {}, []
        for kind, scale, array in zip(self._kinds, self.scales, arrays, strict=True):
            if kind == "VISUAL":
                images.append(scale(array.permute(0, 3, 1, 2).to(torch.float32) / 255))
            else:
                vectors[kind] = scale(array)
        return self.back(self.model(vectors, images))


class _Network(nn.Module):
    """Scaled arrays -> scaled actions; the names are those of LeRobot's weights."""

    def __init__(self, config: Mapping[str, Any], inputs: tuple[Feature, ...], action: Feature) -> None:
        super().__init__()
        width = int(config["dim_model"])
        sizes = {feature.kind: feature.shape[0] for feature in inputs}
        self._chunk, self._width, self._latent = int(config["chunk_size"]), width, int(config["latent_dim"])
        if "VISUAL" in sizes:
            name = str(config.get("vision_backbone", "resnet18"))
            self.backbone, channels = resnet(name, bool(config.get("replace_final_stride_with_dilation")))
            self.encoder_img_feat_input_proj = nn.Conv2d(channels, width, 1)
        self.encoder_latent_input_proj = nn.Linear(self._latent, width)
        if "STATE" in sizes:
            self.encoder_robot_state_input_proj = nn.Linear(sizes["STATE"], width)
        if "ENV" in sizes:
            self.encoder_env_state_input_proj = nn.Linear(sizes["ENV"], width)
        self.encoder_1d_feature_pos_embed = nn.Embedding(1 + ("STATE" in sizes) + ("ENV" in sizes), width)
        self.encoder, self.decoder = _Encoder(config, width), _Decoder(config, width)
        self.decoder_pos_embed = nn.Embedding(self._chunk, width)
        self.action_head = nn.Linear(width, action.shape[0])

    def forward(self, vectors: Mapping[str, torch.Tensor], images: list[torch.Tensor]) -> torch.Tensor:
        tokens = [self.encoder_latent_input_proj(torch.zeros(1, self._latent))]
        if "STATE" in vectors:
            tokens.append(self.encoder_robot_state_input_proj(vectors["STATE"]))
        if "ENV" in vectors:
            tokens.append(self.encoder_env_state_input_proj(vectors["ENV"]))
        sequence, places = [torch.stack(tokens)], [self.encoder_1d_feature_pos_embed.weight.unsqueeze(1)]
        for image in images:
            features = self.backbone(image)
            places.append(_positions(features.shape[-2], features.shape[-1], self._width))
            sequence.append(self.encoder_img_feat_input_proj(features).flatten(2).permute(2, 0, 1))
        place = torch.cat(places)
        memory = self.encoder(torch.cat(sequence), place)
        queries = torch.zeros(self._chunk, 1, self._width)
        found = self.decoder(queries, memory, self.decoder_pos_embed.weight.unsqueeze(1), place)
        return self.action_head(found.transpose(0, 1))


class _Layer(nn.Module):
    """What encoder and decoder layers share: attention to itself, and the two linear ones at the end."""

    def __init__(self, config: Mapping[str, Any], width: int, norms: int) -> None:
        super().__init__()
        heads, inner = int(config["n_heads"]), int(config["dim_feedforward"])
        name = str(config.get("feedforward_activation", "relu"))
        if name not in _ACTIVATIONS:
            raise ConfigError(f"feedforward_activation must be one of {', '.join(_ACTIVATIONS)}, got '{name}'")
        self._activation, self._before = _ACTIVATIONS[name], bool(config.get("pre_norm"))
        self.self_attn = nn.MultiheadAttention(width, heads)
        self.linear1, self.linear2 = nn.Linear(width, inner), nn.Linear(inner, width)
        for i in range(norms):
            setattr(self, f"norm{i + 1}", nn.LayerNorm(width))

    def _step(self, x: torch.Tensor, number: int, apply: Any) -> torch.Tensor:
        """Add what `apply` makes of x; the norm of this number comes before it or after the sum."""
        norm = getattr(self, f"norm{number}")
        return x + apply(norm(x)) if self._before else norm(x + apply(x))

    def _attend(self, x: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
        return self.self_attn(x + place, x + place, x, need_weights=False)[0]

    def _forward_part(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear2(self._activation(self.linear1(x)))


class _EncoderLayer(_Layer):
    def __init__(self, config: Mapping[str, Any], width: int) -> None:
        super().__init__(config, width, norms=2)

    def forward(self, x: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
        x = self._step(x, 1, lambda y: self._attend(y, place))
        return self._step(x, 2, self._forward_part)


class _DecoderLayer(_Layer):
    def __init__(self, config: Mapping[str, Any], width: int) -> None:
        super().__init__(config, width, norms=3)
        self.multihead_attn = nn.MultiheadAttention(width, int(config["n_heads"]))

    def forward(
        self, x: torch.Tensor, memory: torch.Tensor, place: torch.Tensor, memory_place: torch.Tensor
    ) -> torch.Tensor:
        def look(y: torch.Tensor) -> torch.Tensor:
            return self.multihead_attn(y + place, memory + memory_place, memory, need_weights=False)[0]

        x = self._step(x, 1, lambda y: self._attend(y, place))
        x = self._step(x, 2, look)
        return self._step(x, 3, self._forward_part)


class _Encoder(nn.Module):
    def __init__(self, config: Mapping[str, Any], width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_EncoderLayer(config, width) for _ in range(int(config["n_encoder_layers"])))
        self.norm = nn.LayerNorm(width) if config.get("pre_norm") else nn.Identity()

    def forward(self, x: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x, place)
        return self.norm(x)


class _Decoder(nn.Module):
    def __init__(self, config: Mapping[str, Any], width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_DecoderLayer(config, width) for _ in range(int(config["n_decoder_layers"])))
        self.norm = nn.LayerNorm(width)

    def forward(
        self, x: torch.Tensor, memory: torch.Tensor, place: torch.Tensor, memory_place: torch.Tensor
    ) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x, memory, place, memory_place)
        return self.norm(x)


def _positions(height: int, width: int, dimension: int) -> torch.Tensor:
    """Return sine waves of the place in a feature map [H W, 1, D]: y in the first half, x in the second."""
    half = dimension // 2
    rows = torch.arange(1, height + 1, dtype=torch.float32) / (height + _EPS) * 2 * math.pi
    columns = torch.arange(1, width + 1, dtype=torch.float32) / (width + _EPS) * 2 * math.pi
    waves = _TEMPERATURE ** (2 * (torch.arange(half, dtype=torch.float32) // 2) / half)

    def wave(places: torch.Tensor) -> torch.Tensor:
        angles = places[:, None] / waves
        return torch.stack((angles[:, 0::2].sin(), angles[:, 1::2].cos()), dim=-1).flatten(1)

    y, x = wave(rows)[:, None].expand(-1, width, -1), wave(columns)[None].expand(height, -1, -1)
    return torch.cat((y, x), dim=2).reshape(height * width, 1, dimension)
