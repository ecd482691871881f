"""Tiny Hugging Face models of random weights, saved as folders."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch

_TEXTS = [
    "a red cup left of the green box", "what is on the table?", "two blue balls and a cube", "describe this image",
    "the robot holds a yellow cup", "user assistant image", "a photo of", "un café, s'il vous plaît",
]  # fmt: skip
_SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }}: {% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %} {{ part['text'] }}{% endif %}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %} assistant:{% endif %}"
)


def tokenizer(size: int = 300, more: tuple[str, ...] = ()) -> Any:
    """Return a byte-level BPE tokenizer trained on a few texts."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE(unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = [*_SPECIAL.values(), *more]
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator(_TEXTS * 20, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=made, **_SPECIAL, additional_special_tokens=list(more))


def vision_encoder_decoder(folder: Path, seed: int = 0, words: Any = None, width: int = 16, layers: int = 1) -> Path:
    """ViT (of this width and depth) and GPT-2; no processor of both."""
    from transformers import GPT2Config, VisionEncoderDecoderConfig, VisionEncoderDecoderModel, ViTConfig

    words = words or tokenizer()
    seen = ViTConfig(hidden_size=width, num_hidden_layers=layers, num_attention_heads=2, image_size=32, patch_size=16,
                     intermediate_size=16 if width == 16 else 4 * width)  # fmt: skip
    said = GPT2Config(
        vocab_size=len(words), n_embd=16, n_layer=1, n_head=2, n_positions=64, bos_token_id=0, eos_token_id=1
    )
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(seen, said)
    config.decoder_start_token_id, config.pad_token_id, config.eos_token_id = 0, 2, 1
    torch.manual_seed(seed)
    model = VisionEncoderDecoderModel(config)
    model.generation_config.decoder_start_token_id, model.generation_config.pad_token_id = 0, 2
    return _saved(folder, model, words, _image_processor(32))


def blip(folder: Path, seed: int = 0) -> Path:
    from transformers import BlipConfig, BlipForConditionalGeneration, BlipProcessor

    words = tokenizer()
    config = BlipConfig(
        text_config={
            "vocab_size": len(words), "hidden_size": 16, "encoder_hidden_size": 16, "intermediate_size": 16,
            "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 64, "bos_token_id": 0,
            "eos_token_id": 1, "sep_token_id": 1, "pad_token_id": 2, "projection_dim": 8,
        },
        vision_config={"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
                       "image_size": 32, "patch_size": 16, "projection_dim": 8},
        projection_dim=8,
    )  # fmt: skip
    torch.manual_seed(seed)
    model = BlipForConditionalGeneration(config)
    return _saved(folder, model, BlipProcessor(_image_processor(32), words))


def git(folder: Path, seed: int = 0) -> Path:
    from transformers import GitConfig, GitForCausalLM, GitProcessor

    words = tokenizer()
    words.cls_token, words.sep_token = "<s>", "</s>"
    config = GitConfig(
        vision_config={"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
                       "image_size": 32, "patch_size": 16},
        vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=64, bos_token_id=0, eos_token_id=1, pad_token_id=2,
    )  # fmt: skip
    torch.manual_seed(seed)
    return _saved(folder, GitForCausalLM(config), GitProcessor(_image_processor(32), words))


def llava(folder: Path, seed: int = 0) -> Path:
    """A model that is asked by a chat template."""
    from transformers import (
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    words = tokenizer(more=("<image>",))
    image = words.convert_tokens_to_ids("<image>")
    seen = CLIPVisionConfig(hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
                            image_size=32, patch_size=16)  # fmt: skip
    said = LlamaConfig(vocab_size=len(words), hidden_size=16, intermediate_size=16, num_hidden_layers=1,
                       num_attention_heads=2, max_position_embeddings=256, bos_token_id=0, eos_token_id=1,
                       pad_token_id=2)  # fmt: skip
    config = LlavaConfig(vision_config=seen, text_config=said, image_token_id=image)
    torch.manual_seed(seed)
    processor = LlavaProcessor(
        _image_processor(32), words, patch_size=16, vision_feature_select_strategy="default", image_token="<image>",
        num_additional_image_tokens=1, chat_template=_TEMPLATE,
    )  # fmt: skip
    return _saved(folder, LlavaForConditionalGeneration(config), processor)


FOLDERS = {"vision_encoder_decoder": vision_encoder_decoder, "blip": blip, "git": git, "llava": llava}


def _image_processor(side: int) -> Any:
    from transformers import CLIPImageProcessor

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return CLIPImageProcessor(
            size={"height": side, "width": side}, do_center_crop=False, crop_size={"height": side, "width": side}
        )


def _saved(folder: Path, *parts: Any) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for part in parts:
            if isinstance(part, torch.nn.Module):
                with torch.no_grad():
                    for weight in part.parameters():
                        weight.mul_(8 if weight.ndim > 1 else 1)  # so that the words depend on the image
            part.save_pretrained(folder)
    return folder
