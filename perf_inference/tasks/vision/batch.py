"""A vision model that is given the images of several cameras, as many at once as it takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from numpy.typing import NDArray

from perf_inference.engines.engine import Engine
from perf_inference.tasks.vision.found import Found
from perf_inference.tasks.vision.image import Image
from perf_inference.tasks.vision.image_block import ImageBlock
from perf_inference.tasks.vision.prepare import BatchPreparation
from perf_inference.tasks.vision.task import View, YoloTask

_MOST_SIZES = 8  # of the model's image, that memory is kept for


class BatchedYoloTask(YoloTask):
    """A `YoloTask` that fills the batch of a run, for one worker."""

    def __init__(self, engine: Engine, *args: Any, images: int, max_batch: int = 0, **options: Any) -> None:
        """Read what the model's specs and metadata tell.

        Args:
            images: that there may be for one run.
            max_batch: of a model that leaves the number free; 0: as many as there are.

        Raises:
            ConfigError: as `YoloTask`.
        """
        super().__init__(engine, *args, **options)
        self.most: int = self.batch or min(images, max_batch or images)
        """Images of one run."""
        self._memory: dict[tuple[int, int], BatchPreparation] = {}  # by the size of the model's image

    def batches_of_nothing(self) -> Iterator[Mapping[str, NDArray[Any]]]:
        """Yield the inputs of a run of each size that may come, on blank images."""
        for count in range(1, 2 if self.batch else self.most + 1):
            batch = ImageBatch(self)
            for _ in range(count):
                batch.add(self.blank())
            yield batch.inputs()

    def new_batch(self) -> ImageBatch:
        """Return an empty batch, in the memory of the one before."""
        return ImageBatch(self)

    def postprocess_one(self, outputs: Mapping[str, NDArray[Any]], context: View, index: int) -> Found:
        """Return what is in the image of this index, best first.

        Raises:
            EngineError: as `postprocess`.
        """
        return self.found(outputs, context, self.limits, index)

    def memory(self, block: ImageBlock) -> BatchPreparation:
        """Return memory for images of this block."""
        if block.size not in self._memory:
            if len(self._memory) >= _MOST_SIZES:
                self._memory.clear()
            self._memory[block.size] = BatchPreparation(block, self.most)
        return self._memory[block.size]


class ImageBatch:
    """The images of one run."""

    def __init__(self, task: BatchedYoloTask) -> None:
        self._task = task
        self._block = task.block
        self._array: NDArray[Any] | None = None
        self._count = 0

    def add(self, frame: Image) -> View | None:
        """Take a BGR image [H, W, 3]; None: it goes with another run, which is full or for images of another size.

        Raises:
            InputError: an image of another form, or one that the region of interest is outside of.
        """
        part = self._task.part_of(frame)
        if self._count and (self._count >= self._task.most or part.block != self._block):
            return None
        if self._task.is_in_graph:
            self._array, placement = self._task.prepared(part.pixels)
        else:
            memory = self._task.memory(part.block)
            placement = memory.put(self._count, part.pixels)
            self._array = memory.array
        self._block = part.block
        self._count += 1
        return self._task.view_of(part, placement)

    def inputs(self) -> Mapping[str, NDArray[Any]]:
        """Return the engine's inputs, valid until the next batch of the task."""
        if self._array is None:
            raise ValueError("a batch has at least one image")
        return self._task.inputs_of(self._array[: self._task.batch or self._count], self._block)

    @property
    def padding(self) -> int:
        """The places of the run that no image is in."""
        return (self._task.batch or self._count) - self._count
