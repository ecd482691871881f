"""Goes on training the embedded networks, by the scripts that made them: what a pruned one has lost, it learns again.

The learning rates begin again at their height: a pruned network recovers better so than at the low rates with which its
training ended (Renda, Frankle and Carbin 2020, arXiv:2003.02389).
"""

from __future__ import annotations

import math

import torch

from perf_inference.demo import train_captioner, train_detector, train_policy, training
from perf_inference.demo.captioner_net import Captioner
from perf_inference.demo.detector_net import Detector
from perf_inference.demo.policy_net import PolicyNet
from perf_inference.errors import ConfigError

SCENES = 12_000
_BATCH = 32
_EPISODES, _STEPS_PER_EPOCH, _STEPS_PER_ROUND = 200, 50, 300  # of the policy's locator and its head


def check(module: torch.nn.Module) -> None:
    """Raise ConfigError if the network is none of the demo's."""
    if not isinstance(module, (Captioner, Detector, PolicyNet)):
        raise ConfigError(
            f"only the demo's networks are fine-tuned here, not {type(module).__name__}; leave --fine-tune out, and "
            "train what is written with your own script"
        )


def go_on(module: Captioner | Detector | PolicyNet, steps: int, seed: int = 0) -> None:
    """Train the network in place for some steps, and leave it ready for use (eval mode).

    Args:
        steps: batches; a policy's are a fifth the locator's and the rest the head's, in whole epochs and rounds.
    """
    torch.manual_seed(seed)
    if isinstance(module, PolicyNet):
        epochs, rounds = math.ceil(steps / 5 / _STEPS_PER_EPOCH), math.ceil(steps * 4 / 5 / _STEPS_PER_ROUND)
        locator_px = train_policy.train_locator(module.locator, seed, _EPISODES, epochs)
        train_policy.train_head(module.head, seed, locator_px, rounds)
        return
    scenes = training.train_scenes(min(SCENES, steps * _BATCH), seed)
    images = torch.from_numpy(training.training_images(scenes))
    if isinstance(module, Captioner):
        train_captioner.train(module, scenes, images, steps, seed, _BATCH)
    else:
        train_detector.train(module, scenes, images, steps, seed, _BATCH)
