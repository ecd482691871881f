"""Run by an interpreter that has LeRobot: writes policies with random weights, and what LeRobot makes of inputs.

python lerobot_policies.py make KIND FOLDER [NAME=VALUE ...]       a policy, as `save_pretrained` writes it
python lerobot_policies.py run FOLDER INPUTS.npz OUTPUTS.npz       `action` of the inputs, and `ms` of ten runs
"""

from __future__ import annotations

import json
import sys
import time
import zlib

import numpy as np
import torch

CAMERAS, STATE, ACTIONS = ("front", "wrist"), 6, 6


def make(kind: str, folder: str, settings: dict) -> None:
    from lerobot.configs.types import FeatureType, NormalizationMode, PolicyFeature
    from lerobot.policies.factory import get_policy_class, make_policy_config, make_pre_post_processors

    torch.manual_seed(int(settings.pop("seed", 3)))
    side = tuple(settings.pop("size", (96, 128)))
    cameras = CAMERAS[: settings.pop("cameras", 2)]
    modes = settings.pop("modes", None)
    if kind == "smolvla":
        settings["vlm_model_name"] = vision_language_folder(f"{folder}_vlm")
    inputs = {f"observation.images.{name}": PolicyFeature(FeatureType.VISUAL, (3, *side)) for name in cameras}
    inputs["observation.state"] = PolicyFeature(FeatureType.STATE, (STATE,))
    if not cameras or settings.pop("env", False):
        inputs["observation.environment_state"] = PolicyFeature(FeatureType.ENV, (4,))
    outputs = {"action": PolicyFeature(FeatureType.ACTION, (ACTIONS,))}
    config = make_policy_config(kind, input_features=inputs, output_features=outputs, device="cpu", **settings)
    if modes:
        config.normalization_mapping = {key: NormalizationMode(value) for key, value in modes.items()}
    policy = get_policy_class(kind)(config).eval()
    stats = {name: _statistics(feature.shape) for name, feature in {**inputs, **outputs}.items()}
    before, after = make_pre_post_processors(config, dataset_stats=stats)
    for part in (policy, before, after):
        part.save_pretrained(folder)


def _statistics(shape: tuple) -> dict:
    size = (shape[0], 1, 1) if len(shape) == 3 else shape
    low, width = torch.randn(size), torch.rand(size) + 0.3
    return {
        "mean": low + width / 2, "std": width / 4, "min": low, "max": low + width, "q01": low + 0.05 * width,
        "q99": low + 0.95 * width, "q10": low + 0.1 * width, "q90": low + 0.9 * width,
    }  # fmt: skip


def vision_language_folder(folder: str) -> str:
    """Write a SmolVLM of two small layers with random weights, and all that its processor needs."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import (
        PreTrainedTokenizerFast,
        SmolVLMConfig,
        SmolVLMForConditionalGeneration,
        SmolVLMImageProcessor,
        SmolVLMProcessor,
        SmolVLMVideoProcessor,
    )

    named = {
        "fake_image_token": "<fake_token_around_image>", "global_image_token": "<global-img>",
        "image_token": "<image>", "end_of_utterance_token": "<end_of_utterance>",
    }  # fmt: skip
    bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words = Tokenizer(models.BPE(unk_token="<unk>"))
    words.pre_tokenizer = bytes_
    special = ["<pad>", "<unk>", "<s>", *named.values()]
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=bytes_.alphabet())
    words.train_from_iterator(["pick up the red cube and put it into the box"], trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", unk_token="<unk>", bos_token="<s>",
        eos_token="<end_of_utterance>", extra_special_tokens=named,
    )  # fmt: skip
    text = {
        "model_type": "llama", "vocab_size": len(tokenizer), "hidden_size": 64, "intermediate_size": 128,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "pad_token_id": 0,
    }  # fmt: skip
    vision = {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 64,
        "patch_size": 16,
    }  # fmt: skip
    config = SmolVLMConfig(
        text_config=text, vision_config=vision, scale_factor=2, pad_token_id=0,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
    )  # fmt: skip
    size = {"longest_edge": 64}
    images = SmolVLMImageProcessor(size=size, max_image_size=size)
    SmolVLMForConditionalGeneration(config).to(torch.bfloat16).save_pretrained(folder)
    SmolVLMProcessor(images, tokenizer, SmolVLMVideoProcessor(), image_seq_len=4).save_pretrained(folder)
    return folder


def run(folder: str, source: str, target: str) -> None:
    """As LeRobot's own evaluation does it: one observation after the other through `select_action`'s parts."""
    from lerobot.configs.policies import PreTrainedConfig
    from lerobot.policies.factory import get_policy_class, make_pre_post_processors  # makes all types known

    torch.set_num_threads(1)
    config = PreTrainedConfig.from_pretrained(folder)
    policy = get_policy_class(config.type).from_pretrained(folder).eval()
    before, after = make_pre_post_processors(config, pretrained_path=folder)
    arrays = dict(np.load(source))
    task = str(arrays.pop("task", ""))
    seed = zlib.crc32(task.encode())
    for name in config.input_features:  # in the order in which the runtime sends them
        seed = zlib.crc32(arrays[name].tobytes(), seed)

    def once() -> torch.Tensor:
        torch.manual_seed(seed)
        if config.type == "diffusion":
            return _diffusion(config, policy, before, after, arrays)
        policy.reset()
        batch = {name: _tensor(name, array) for name, array in arrays.items()}
        if task:
            batch["task"] = [task]
        return after(policy.predict_action_chunk(before(batch)))

    action, times = once(), []
    for _ in range(10):
        began = time.perf_counter()
        once()
        times.append((time.perf_counter() - began) * 1e3)
    np.savez(target, action=action.numpy(), ms=np.array(times))


def _diffusion(config, policy, before, after, arrays: dict) -> torch.Tensor:
    """Feed the steps one by one to the policy's own queues, as it is used; its chunk is what the queue then has."""
    policy.reset()
    seeds = torch.get_rng_state()
    for step in range(config.n_obs_steps):
        torch.set_rng_state(seeds)
        policy._queues["action"].clear()
        first = policy.select_action(before({n: _tensor(n, a[:, step]) for n, a in arrays.items()}))
    rest = list(policy._queues["action"])
    return after(torch.stack([first, *rest], dim=1))


def _tensor(name: str, array: np.ndarray) -> torch.Tensor:
    tensor = torch.from_numpy(array)
    return tensor.movedim(-1, -3).float() / 255 if "images" in name else tensor


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(sys.argv[2], sys.argv[3], {k: json.loads(v) for k, _, v in (a.partition("=") for a in sys.argv[4:])})
    else:
        run(*sys.argv[2:5])
