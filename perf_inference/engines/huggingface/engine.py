"""Captioners and vision-language models from Hugging Face folders, run by transformers.

Nothing is fetched and no code of a model's own is run: the files are local, the weights safetensors.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read when the library is imported
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

from perf_inference.engines.engine import NO_PARTS, ArraySpec, EngineInfo, Options, check_inputs
from perf_inference.engines.huggingface import audio
from perf_inference.engines.huggingface import folder as folders
from perf_inference.engines.huggingface.audio import quiet
from perf_inference.engines.huggingface.streaming import Cancelled, Pieces, Prefilled, WordBegins
from perf_inference.engines.pytorch.engine import TorchEngine, find_device, refusals
from perf_inference.engines.pytorch.precision import in_precision
from perf_inference.engines.stream import TokenStream
from perf_inference.errors import ConfigError, EngineError, InputError, PerfInferenceError, in_one_line
from perf_inference.files.json_file import read_json

_DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
_STORED = {"float16": "fp16", "bfloat16": "bf16"}
_CHAT_TOKENS = 128  # of an answer where neither the user nor the model says how many
_ASKED = {"florence2": "<CAPTION>", "paligemma": "caption en"}  # what such a model must be asked for a description
_DESCRIBE = "Describe this image in one sentence."
_TEXT = 200_000  # bytes of a prompt


def open_engine(model: str, options: Options) -> FolderEngine | TorchEngine:
    """Return an engine for a folder that `save_pretrained` wrote.

    Raises:
        ConfigError: files are missing or damaged, code would have to be run, or the model reads no images.
    """
    folder = Path(model)
    config = folders.check(folder)
    quiet()
    if audio.kind_of(config):
        return audio.open_engine(folder, options)
    precision = _precision(config, options)
    device = find_device(options.device, precision)
    with warnings.catch_warnings(), refusals(folder.name, precision, device):
        warnings.simplefilter("ignore")
        return FolderEngine(folder, config, precision, device, options)


class FolderEngine:
    """Makes a sentence of an image and a prompt: `image` uint8 [H, W, 3] BGR and `prompt` uint8 [N], UTF-8.

    Outputs: `text` uint8 [N], as the tokenizer decodes it without special tokens; `tokens` int64 [T] and their
    probabilities `scores` float32 [T].
    """

    inputs = (
        ArraySpec("image", (None, None, 3), np.dtype(np.uint8)),
        ArraySpec("prompt", (None,), np.dtype(np.uint8)),
    )
    outputs = (
        ArraySpec("text", (None,), np.dtype(np.uint8), owned=True),
        ArraySpec("tokens", (None,), np.dtype(np.int64), owned=True),
        ArraySpec("scores", (None,), np.dtype(np.float32), owned=True),
    )

    def __init__(self, folder: Path, config: Mapping[str, Any], precision: str, device: str, options: Options) -> None:
        self.parts_ns: Mapping[str, int] = NO_PARTS
        self.stream: TokenStream | None = None
        self._kind = str(config["model_type"])
        self._processor, self._tokenizer, self._images = _processors(folder)
        self._begins = WordBegins(self._tokenizer)
        self._model: Any = _model(folder, precision, device)
        self.parameters = sum(parameter.numel() for parameter in self._model.parameters())
        if precision == "int8":
            self._model = in_precision(self._model, precision)
        self._device = torch.device(device)
        self._dtype = _DTYPES.get(precision, torch.float32)
        self._threads = options.threads or torch.get_num_threads()
        self._beams, self._max_tokens = options.beams or 1, options.max_tokens
        _check_tokenizer(folder, self._model, self._tokenizer)
        said = {
            "architecture": type(self._model).__name__,
            "beams": str(self._beams),
            "max_tokens": str(self._max_tokens),
            **_about(folder),
            **({"int8_library": self._model.int8_library} if hasattr(self._model, "int8_library") else {}),
        }
        self.info = EngineInfo(folder.name, "transformers", precision, device, said)
        self._made(np.zeros((64, 64, 3), np.uint8), "", 1, 1)  # it runs, or is refused here

    @property
    def streams(self) -> bool:
        """Whether it tells of each token: beams have no first words."""
        return self._beams == 1

    def infer(self, inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        check_inputs(self.inputs, inputs)
        if self._model is None:
            raise EngineError(f"'{self.info.name}' is closed")
        image = inputs["image"]
        if not image.size or len(inputs["prompt"]) > _TEXT:
            raise InputError(f"an image of some pixels and a prompt of at most {_TEXT} bytes are needed")
        try:
            prompt = inputs["prompt"].tobytes().decode()
        except UnicodeDecodeError as error:
            raise InputError(f"'prompt' must be UTF-8: {error}") from error
        if torch.get_num_threads() != self._threads:
            torch.set_num_threads(self._threads)
        try:
            return self._made(image, prompt, self._beams, self._max_tokens)
        except PerfInferenceError:
            raise
        except Exception as error:
            raise EngineError(f"transformers failed on '{self.info.name}': {in_one_line(error)}") from error

    def close(self) -> None:
        model, self._model = self._model, None
        if model is not None:
            _empty(model)
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _made(self, image: NDArray[Any], prompt: str, beams: int, max_tokens: int) -> Mapping[str, NDArray[Any]]:
        stream = self.stream if self.streams else None
        if stream is not None:
            stream.begin()
        asked = self._asked(image, prompt)
        pieces = None if stream is None else Pieces(self._tokenizer, stream, self._begins)
        more: dict[str, Any] = {}
        if stream is not None:
            more = {"streamer": pieces, "stopping_criteria": [Cancelled(stream, self._device)]}
        if max_tokens or (self._is_chat and not self._says_how_long):
            more["max_new_tokens"] = max_tokens or _CHAT_TOKENS
        prefilled = None if stream is None else Prefilled(self._model, stream)
        with torch.inference_mode(), warnings.catch_warnings(), contextlib.ExitStack() as at_end:
            warnings.simplefilter("ignore")
            if prefilled is not None:
                at_end.callback(prefilled.end)
            found = self._model.generate(
                **asked, **more, num_beams=beams, do_sample=False, return_dict_in_generate=True, output_scores=True
            )
            tokens, scores = self._new(found, asked)
        text = self._tokenizer.decode(tokens, skip_special_tokens=True)
        if pieces is not None:
            pieces.finish(text)
        return {
            "text": np.frombuffer(text.encode(), np.uint8).copy(),
            "tokens": np.array(tokens, np.int64),
            "scores": np.array(scores, np.float32),
        }

    @property
    def _is_chat(self) -> bool:
        return bool(getattr(self._processor, "chat_template", None) or getattr(self._tokenizer, "chat_template", None))

    @property
    def _says_how_long(self) -> bool:
        said = self._model.generation_config
        return bool(said.max_new_tokens) or (said.max_length or 20) != 20

    def _asked(self, image: NDArray[Any], prompt: str) -> dict[str, Any]:
        """Return what `generate` takes."""
        from PIL import Image

        picture = Image.fromarray(np.ascontiguousarray(image[..., ::-1]))
        prompt = prompt or _ASKED.get(self._kind, "")
        if self._processor is None:
            if prompt:
                raise InputError(f"'{self._kind}' describes images and answers no questions; set prompt: ''")
            made = self._images(images=picture, return_tensors="pt")
        elif self._is_chat:
            content = [{"type": "image"}, {"type": "text", "text": prompt or _DESCRIBE}]
            text = self._processor.apply_chat_template(
                [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
            )
            made = self._processor(text=[text], images=[[picture]], return_tensors="pt")
        elif prompt:
            made = self._processor(images=picture, text=prompt, return_tensors="pt")
        else:
            made = self._processor(images=picture, return_tensors="pt")
        return {
            name: tensor.to(self._device, self._dtype) if tensor.is_floating_point() else tensor.to(self._device)
            for name, tensor in made.items()
            if isinstance(tensor, torch.Tensor)
        }

    def _new(self, found: Any, asked: Mapping[str, Any]) -> tuple[list[int], list[float]]:
        """Return the tokens that were made, without the prompt's, and their probabilities."""
        beams = getattr(found, "beam_indices", None)
        logs = self._model.compute_transition_scores(
            found.sequences, found.scores, beams, normalize_logits=beams is None
        )[0]
        sequence, count = found.sequences[0].tolist(), len(found.scores)
        if beams is not None:  # those of a beam that ended early are fewer
            count = int((beams[0] >= 0).sum())
            logs = logs[:count]
        given = asked.get("input_ids")
        prompt = [] if given is None or self._model.config.is_encoder_decoder else given[0].tolist()
        tokens = sequence[len(prompt) :] if prompt and sequence[: len(prompt)] == prompt else sequence
        probabilities = logs.float().exp().clamp(0, 1).tolist()
        made = sequence[len(sequence) - count :] if beams is None else tokens[-count:]
        ends = _ends(self._model)
        last = next((at for at, number in enumerate(made) if number in ends), len(made))
        first = len(tokens) - len(made)
        return tokens[: first + last + 1], probabilities[: last + 1]


def _precision(config: Mapping[str, Any], options: Options) -> str:
    if options.precision != "auto":
        return options.precision
    stored = _STORED.get(str(config.get("dtype") or config.get("torch_dtype")), "fp32")
    return stored if options.device != "cpu" and torch.cuda.is_available() else "fp32"


def _processors(folder: Path) -> tuple[Any, Any, Any]:
    """Return the processor of image and text (None: the model takes images alone), the tokenizer and that of images."""
    from transformers import AutoImageProcessor, AutoProcessor, AutoTokenizer

    local = {"local_files_only": True, "trust_remote_code": False}
    try:
        processor = AutoProcessor.from_pretrained(folder, **local)
    except Exception:  # a model that has none, as those of an encoder and a decoder
        processor = None
    try:
        if processor is not None and hasattr(processor, "tokenizer") and hasattr(processor, "image_processor"):
            return processor, processor.tokenizer, processor.image_processor
        return None, AutoTokenizer.from_pretrained(folder, **local), AutoImageProcessor.from_pretrained(folder, **local)
    except Exception as error:
        raise ConfigError(
            f"'{folder}' has no image processor or no tokenizer that transformers can read ({in_one_line(error)}); "
            "save both there with save_pretrained"
        ) from error


def _model(folder: Path, precision: str, device: str) -> Any:
    from transformers import AutoModelForImageTextToText

    try:
        model, loading = AutoModelForImageTextToText.from_pretrained(
            folder,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=_DTYPES.get(precision, torch.float32),
            output_loading_info=True,
        )
    except Exception as error:
        raise ConfigError(f"'{folder}' is no model that reads images and writes text ({in_one_line(error)})") from error
    if lost := sorted(loading.get("missing_keys", ())):
        raise ConfigError(f"'{folder}' lacks the weights '{lost[0]}' and {len(lost) - 1} more; copy it again")
    return model.eval().requires_grad_(False).to(torch.device(device))


def _check_tokenizer(folder: Path, model: Any, tokenizer: Any) -> None:
    """Raise ConfigError where the tokenizer has words that the model cannot say, or lacks its last word."""
    config = model.config.get_text_config(decoder=True)
    count, words = getattr(config, "vocab_size", None), len(tokenizer)
    lacking = [end for end in _ends(model) if end >= words]
    if (count is not None and words > count) or lacking:
        had = f"its end token is {lacking[0]}" if lacking else f"the model knows {count}"
        raise ConfigError(f"the tokenizer in '{folder}' is another model's: it has {words} tokens, but {had}")


def _ends(model: Any) -> set[int]:
    said = model.generation_config.eos_token_id
    said = model.config.get_text_config(decoder=True).eos_token_id if said is None else said
    return set(said if isinstance(said, list) else [said]) - {None}


def _about(folder: Path) -> dict[str, str]:
    """Return what a file `perf_inference.json` in the folder says of the model, such as its score."""
    file = folder / "perf_inference.json"
    said = read_json(file) if file.is_file() else {}
    return {key: value for key, value in said.items() if isinstance(value, str)}


def _empty(model: Any) -> None:
    """Take the weights out of a model: its parts know each other, so that it goes with a later collection only."""
    for part in list(model.modules()):
        part._parameters.clear()
        part._buffers.clear()
        if hasattr(part, "_packed_params"):  # of a layer in dynamic int8
            part._packed_params = None
