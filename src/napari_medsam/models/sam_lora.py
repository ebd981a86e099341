"""SAM with somebody's own LoRA of its encoder, as Sam_LoRA and SAMed's code write them: no heads in the file."""

from __future__ import annotations

from napari_medsam.errors import CheckpointError
from napari_medsam.models import lora
from napari_medsam.models.checkpoints.reading import read
from napari_medsam.models.checkpoints.refusal import refused, some
from napari_medsam.models.frame_sam import SAM
from napari_medsam.models.sam import Parts, filled, network
from napari_medsam.models.sam_keys import original_names
from napari_medsam.models.sam_network import Rule, SamNetwork
from napari_medsam.models.sam_segmenter import SamSegmenter
from napari_medsam.models.sources import Sources

ENCODER = "image_encoder."
WHAT = "a LoRA of SAM's image encoder"

__all__ = ["make", "merged", "network"]


def make(sources: Sources) -> SamSegmenter:
    """The model of a LoRA file and the weights of SAM beside it. It sees planes as SAM does.

    Raises
    ------
    CheckpointError
        The weights of SAM are missing, or one of the files does not hold what it should.
    """
    encoder, heads = merged(sources)
    spec = sources.row.spec(sources.digest)
    return SamSegmenter(spec, SAM, SamNetwork(encoder, heads, Rule.SAM, sources.compute))


def merged(sources: Sources) -> Parts:
    """The parts of SAM with the changes added to the encoder's weights.

    Raises
    ------
    CheckpointError
        See `make`.
    """
    checkpoint = read(sources.weights)
    changes = lora.Tensors(checkpoint.tensors, checkpoint.path, WHAT)
    config = lora.encoder_of(changes)
    factors = list(lora.encoder_factors(config, ENCODER))
    known = {name for factor in factors for name in (factor.first, factor.last)}
    unknown = [name for name in changes.tensors if name not in known]
    if unknown:
        raise refused(changes.path, WHAT, f"more: {some(unknown)}", lora.STEP)
    base = base_of(sources)
    base.require([factor.weight for factor in factors])
    state = dict(base.tensors)
    lora.add(state, factors, changes)
    return filled(config, state, base.path, base.what)


def base_of(sources: Sources) -> lora.Tensors:
    """The weights of SAM beside the file, under the original's names."""
    if sources.base is None:
        raise CheckpointError(f"{sources.weights} changes SAM, whose weights are missing. Choose the file of SAM too.")
    checkpoint = read(sources.base)
    return lora.Tensors(original_names(checkpoint.tensors), checkpoint.path, f"the weights of {sources.row.base}")
