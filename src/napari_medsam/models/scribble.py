"""Segmenter of a network that takes what was drawn as a mask: LiteMedSAM-Scribble. The network is given to it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_medsam.models.base import Embedding, ModelSpec, Prediction
from napari_medsam.models.frame import BoolArray, Frame, InputPrompts
from napari_medsam.models.sam_segmenter import Answer, Network, SamSegmenter
from napari_medsam.prompts import Prompts

NEGATIVE = "A negative stroke counts as another object: what rather belongs to that one is left out."


class ScribbleSegmenter:
    """Segmenter that shows strokes to the network as a mask of the pixels under them, and nothing else.

    A mask prompt counts as a broad stroke. The network was trained with the scribble of one object at a time, and the
    original ignores strokes on the background. Ignored ink would surprise, so negative strokes are asked about as one
    more object, as the original does with several, and a pixel that both claim goes to the likelier. (In the original
    it goes to the later.)

    Parameters
    ----------
    spec : ModelSpec
    frame : Frame
        Whose `mask` makes the scribble.
    network : Network
    """

    def __init__(self, spec: ModelSpec, frame: Frame, network: Network) -> None:
        self._segmenter = SamSegmenter(spec, frame, network)

    @property
    def spec(self) -> ModelSpec:
        """What the model is and takes."""
        return self._segmenter.spec

    def encode(self, plane: NDArray[np.uint8]) -> Embedding:
        """Run the encoder."""
        return self._segmenter.encode(plane)

    def decode(self, embedding: Embedding, prompts: Prompts) -> Prediction:
        """Run the decoder for the object, and once more where there are negative strokes."""
        self.spec.check(prompts)
        prompts = prompts.fitted(embedding.shape)
        answer = self._ask(embedding, drawn(prompts, embedding.shape, positive=True))
        masks, note = self._segmenter.frame.restore(answer.logits, embedding.shape), ""
        off = drawn(prompts, embedding.shape, positive=False)
        if off.any():
            other = self._ask(embedding, off)
            masks &= self._segmenter.frame.restore(answer.logits - other.logits, embedding.shape)
            note = NEGATIVE
        return Prediction(masks, np.clip(answer.scores, 0, 1).astype(np.float64), answer.chosen, note)

    def _ask(self, embedding: Embedding, pixels: BoolArray) -> Answer:
        points, labels = np.empty((0, 2), dtype=np.float32), np.empty(0, dtype=np.int64)
        scribble = self._segmenter.frame.mask(pixels)
        return self._segmenter.network.answer(embedding.arrays, InputPrompts(points, labels, mask=scribble))


def drawn(prompts: Prompts, shape: tuple[int, int], *, positive: bool) -> BoolArray:
    """The pixels on a plane of `shape` under the strokes of one sign, and, where positive, those of the mask prompt."""
    pixels = np.zeros(shape, dtype=bool)
    if positive and prompts.mask is not None:
        pixels |= prompts.mask.pixels
    for stroke in prompts.strokes:
        if stroke.positive == positive:
            pixels[tuple(stroke.pixels(shape).T)] = True
    return pixels
