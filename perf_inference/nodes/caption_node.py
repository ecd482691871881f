"""Describe camera images in a sentence, at a rate or when asked."""

from __future__ import annotations

from dataclasses import dataclass

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.qos import QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from std_msgs.msg import String
from std_srvs.srv import Trigger

from perf_inference.errors import InputError
from perf_inference.measure.clocks import CLOCKS
from perf_inference.measure.stamps import Arrival
from perf_inference.nodes.engine.inference import Inference
from perf_inference.nodes.images.latest_image import LatestImage
from perf_inference.nodes.ros import runner
from perf_inference.nodes.ros.pacer import Pacer
from perf_inference.nodes.ros.parameters import ImageParameters, declare, model_parameter, parameter
from perf_inference.nodes.ros.request_bounds import TOO_MANY, Waiting
from perf_inference.pipeline import Frame
from perf_inference.tasks.language.caption import Caption, CaptionTask


@dataclass(frozen=True)
class CaptionParameters(ImageParameters):
    """Parameters of caption_node."""

    model: str = model_parameter("captioner")
    rate: float = parameter(1.0, "captions per second [Hz]; 0: only when the service asks", at_least=0, at_most=1000)


class CaptionNode(runner.RunnableNode):
    """image -> caption, at a rate; the service ~/caption answers with the newest image's sentence."""

    def __init__(self, name: str = "caption_node") -> None:
        super().__init__(name)
        p = declare(self, CaptionParameters)
        self._caption = self.create_publisher(
            String, "caption", QoSProfile(depth=10), qos_overriding_options=QoSOverridingOptions.with_default_policies()
        )
        self._asked = Waiting()  # answered by the next inference that begins
        self._serving = Waiting()
        self._image = LatestImage(self, p.image_transport, self._unreadable)
        self._inference = Inference(
            self,
            p,
            CaptionTask,
            self._decode,
            self._publish,
            blank=CaptionTask.blank,
            rate_hz=p.rate or None,
            skipped=self._refuse,
        )
        self._inference.watch("image", self._image.input)
        self._pacer = Pacer(self, p.rate, self._tick) if p.rate > 0 else None
        # Who waits for a caption holds up nothing else.
        self.create_service(Trigger, "~/caption", self._on_caption, callback_group=ReentrantCallbackGroup())
        pace = f"{p.rate:g} Hz" if p.rate > 0 else "on request"
        engine = self._inference.engine
        self.get_logger().info(
            f"{engine.info.name} ({engine.info.runtime} {engine.info.precision} on {engine.info.device}) describes "
            f"{self._image.input.topic}, {pace}"
        )

    def stop(self) -> None:
        if self._pacer is not None:
            self._pacer.cancel()

    def finish(self) -> None:
        self._inference.finish()

    def _tick(self, arrival: Arrival) -> None:
        if self._image.input.last_ns is not None:  # before the first image there is nothing to describe
            self._inference.pipeline.offer(arrival)

    async def _on_caption(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        future = self._asked.add(self.executor)
        if future is None:
            response.success, response.message = False, TOO_MANY
            return response
        monotonic_ns, system_ns = CLOCKS.pair()
        self._inference.pipeline.offer(Arrival(None, monotonic_ns, system_ns))
        response.success, response.message = await future
        return response

    def _unreadable(self, error: InputError) -> None:
        self._inference.unreadable(error)

    def _decode(self, arrival: Arrival, task: CaptionTask) -> Frame:
        self._serving = self._asked.take()
        image = self._image.look()
        return Frame(image.bgr, image.arrival.stamp_ns)

    def _publish(self, result: Caption, frame: Frame, arrival: Arrival) -> None:
        if not result.text:
            raise InputError("the captioner gave no words")
        self._caption.publish(String(data=result.text))
        self._answer(True, result.text)

    def _refuse(self, error: Exception) -> None:
        self._answer(False, str(error))

    def _answer(self, success: bool, text: str) -> None:
        self._serving.answer((success, text))


def main() -> None:
    """Run the node."""
    runner.main(CaptionNode)


if __name__ == "__main__":
    main()
