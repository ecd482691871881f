"""Describe camera images in a sentence or answer a question about them, at a rate or when asked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from std_msgs.msg import String
from std_srvs.srv import Trigger

from perf_inference.engines import Engine, Options
from perf_inference.errors import ConfigError, InputError
from perf_inference.measure.clocks import CLOCKS
from perf_inference.measure.stamps import Arrival
from perf_inference.nodes.engine.inference import Inference
from perf_inference.nodes.images.latest_image import LatestImage
from perf_inference.nodes.lifecycle.managed_node import ManagedNode
from perf_inference.nodes.lifecycle.steps import Work
from perf_inference.nodes.reports.reporter import Report
from perf_inference.nodes.ros import runner
from perf_inference.nodes.ros.pacer import Pacer
from perf_inference.nodes.ros.parameters import ImageParameters, is_given, model_parameter, parameter
from perf_inference.nodes.ros.request_bounds import TOO_MANY, Waiting
from perf_inference.pipeline import Frame
from perf_inference.printable import shown
from perf_inference.tasks.language.caption import Caption, CaptionTask

_SENTENCE = 1000  # characters of a refusal
_AUTO, _WAIT, _REFUSE, _REPLACE = "auto", "wait", "refuse", "replace"


@dataclass(frozen=True)
class CaptionParameters(ImageParameters):
    """Parameters of caption_node."""

    model: str = model_parameter("captioner")
    rate: float = parameter(1.0, "captions per second [Hz]; 0: only when the service asks", at_least=0, at_most=1000,
                            while_running=True)  # fmt: skip
    prompt: str = parameter("", "what is asked of each image; empty: to describe it", while_running=True)
    beams: int = parameter(0, "sentences that the search keeps; 0: as the model says, as a rule 1, the likeliest word "
                           "each time", at_least=0, at_most=64)  # fmt: skip
    max_tokens: int = parameter(0, "tokens of a sentence at most; 0: as the model says", at_least=0, at_most=100_000)
    min_score: float = parameter(0.0, "sentences whose least likely token is less likely are left out",
                                 at_least=0, at_most=1)  # fmt: skip
    partial: bool = parameter(True, "publish words on caption_partial as they come, where the model tells them")
    when_busy: str = parameter(
        _AUTO,
        "a trigger during a caption: wait for the next, refuse, or replace the one under way; auto: wait, and replace "
        "a chat server's",
        choices=(_AUTO, _WAIT, _REFUSE, _REPLACE),
    )

    def options(self) -> Options:
        """Return what `engines.load` takes."""
        return replace(super().options(), beams=self.beams, max_tokens=self.max_tokens)


class CaptionNode(ManagedNode):
    """image -> caption, at a rate; the service ~/caption answers with the newest image's sentence."""

    def __init__(self, name: str = "caption_node") -> None:
        super().__init__(name, CaptionParameters)
        p = self.started_as
        if p.beams > 1 and p.partial and is_given(self, "partial"):
            raise ConfigError("partial words and beams do not go together: no word of a search is sure before its end; "
                              f"set partial: false, or beams: 1, got beams: {p.beams}")  # fmt: skip

    def configure(self) -> Work:
        p: CaptionParameters = self.parameters
        self._p = p
        self._prompt = p.prompt
        self._caption = self._publisher("caption")
        self._partial = self._publisher("caption_partial")
        self._asked = Waiting()  # answered by the next inference that begins
        self._serving = Waiting()
        self._busy = False  # a caption is being made
        self._inference = Inference(
            self,
            p,
            self._task_of,
            self._decode,
            self._publish,
            blank=CaptionTask.blank,
            rate_hz=p.rate or None,
            skipped=self._refuse,
        )
        yield from self._inference.loading()
        self._image = LatestImage(
            self, p.image_transport, self._unreadable, bits=p.image_bits, reliability=p.reliability, own_thread=True
        )
        self.at_clean_up(self._image.input.stop_reading)
        self._inference.watch("image", self._image.input)
        self._rate = p.rate
        self._pacer: Pacer | None = None
        self.judge_from_now_on(self._on_set)
        # Who waits for a caption holds up nothing else.
        self.create_service(Trigger, "~/caption", self._on_caption, callback_group=ReentrantCallbackGroup())
        pace = f"{p.rate:g} Hz" if p.rate > 0 else "on request"
        engine = self._inference.engine
        self.get_logger().info(
            f"{engine.info.name} ({engine.info.runtime} {engine.info.precision} on {engine.info.device}) describes "
            f"{self._image.input.topic}, {pace}"
        )

    def activate(self) -> None:
        self._image.forget()
        if self._rate > 0:
            self._pacer = Pacer(self, self._rate, self._tick)

    def deactivate(self) -> None:
        if self._pacer is not None:
            self._pacer.close()
            self._pacer = None
        self._cancel()

    def listen(self, on: bool) -> Work:
        return self._inference.listen(on)

    def report(self) -> Report:
        return self._inference.report()

    def stop(self) -> None:
        if self.configured:
            self.deactivate()

    def _publisher(self, topic: str) -> Any:
        overridable = QoSOverridingOptions.with_default_policies()
        return self.create_publisher(String, topic, QoSProfile(depth=10), qos_overriding_options=overridable)

    def _task_of(self, engine: Engine) -> CaptionTask:
        return CaptionTask(engine, self._prompt, self._p.beams, self._p.max_tokens, self._p.min_score)

    def _tick(self, arrival: Arrival) -> None:
        if self._image.input.last_ns is not None:  # before the first image there is nothing to describe
            self._inference.pipeline.offer(arrival)

    async def _on_caption(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if self.state != "active":
            response.success, response.message = False, f"{self.get_name()} is {self.state}; activate it first"
            return response
        if self._busy and self._when_busy() == _REFUSE:
            response.success, response.message = False, "a caption is being made; ask again when it is there"
            return response
        future = self._asked.add(self.executor)
        if future is None:
            response.success, response.message = False, TOO_MANY
            return response
        if self._busy and self._when_busy() == _REPLACE:
            self._cancel()
        monotonic_ns, system_ns = CLOCKS.pair()
        self._inference.pipeline.offer(Arrival(None, monotonic_ns, system_ns))
        response.success, response.message = await future
        return response

    def _when_busy(self) -> str:
        if self._p.when_busy == _AUTO:
            return _REPLACE if self._inference.engine.info.runtime == "chat" else _WAIT
        return self._p.when_busy

    def _cancel(self) -> None:
        """End the caption under way as soon as its engine can."""
        stream = self._inference.task.stream
        if stream is not None:
            stream.cancel()

    def _on_set(self, parameters: list[Parameter]) -> SetParametersResult:
        for one in parameters:
            if one.name == "prompt":
                try:
                    self._inference.task.ask(one.value)
                except ConfigError as error:
                    return SetParametersResult(successful=False, reason=shown(error, _SENTENCE))
                self._prompt = one.value
        for one in parameters:
            if one.name == "rate":
                self._pace(one.value)
        return SetParametersResult(successful=True)

    def _pace(self, rate: float) -> None:
        if rate == self._rate:
            return
        if self._pacer is not None:
            self._pacer.close()
        self._rate = rate
        self._pacer = Pacer(self, rate, self._tick) if rate > 0 and self.state == "active" else None
        self._inference.expect(rate)

    def _unreadable(self, error: InputError) -> None:
        self._inference.unreadable(error)

    def _decode(self, arrival: Arrival, task: CaptionTask) -> Frame:
        self._busy = True
        self._serving = self._asked.take()
        if self._p.partial:
            task.on_text = self._say
        image = self._image.look()
        return Frame(image.bgr, image.arrival.stamp_ns)

    def _say(self, text: str) -> None:
        self._partial.publish(String(data=text))

    def _publish(self, result: Caption, frame: Frame, arrival: Arrival) -> None:
        if not result.text:
            raise InputError("the captioner gave no words")
        self._caption.publish(String(data=result.text))
        self._warn_if_late(arrival)
        self._answer(True, result.text)

    def _warn_if_late(self, arrival: Arrival) -> None:
        took_s = (CLOCKS.monotonic_ns() - arrival.arrived_ns) / 1e9
        rate = self._rate
        if rate > 0 and took_s > 1 / rate:
            self.get_logger().warning(
                f"a caption took {took_s:.2f} s, longer than its period of {1 / rate:.2f} s; lower rate or "
                "max_tokens, or take a smaller model",
                throttle_duration_sec=10.0,
            )

    def _refuse(self, error: Exception) -> None:
        self._answer(False, str(error))

    def _answer(self, success: bool, text: str) -> None:
        self._busy = False
        self._serving.answer((success, text))


def main() -> None:
    """Run the node."""
    runner.main(CaptionNode)


if __name__ == "__main__":
    main()
