"""The lean decoder beside the original's own, with random weights."""

from __future__ import annotations

import copy

import pytest
import torch

from napari_medsam.models.lean_decoder import LeanDecoder, is_plain
from napari_medsam.models.msa_decoder import positions_first
from napari_medsam.models.sam_network import Heads, sam_heads

GRID, WIDTH = 6, 32


@pytest.fixture
def heads() -> Heads:
    torch.manual_seed(5)
    made = sam_heads(16 * GRID, GRID, width=WIDTH)
    for parameter in made.mask_decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.3)  # biases too, and norms that are not one
    return made


def of_the_original(heads: Heads, image: torch.Tensor, sparse: torch.Tensor, dense: torch.Tensor) -> list[torch.Tensor]:
    found = heads.mask_decoder.predict_masks(image, heads.prompt_encoder.get_dense_pe(), sparse, dense)
    return [one[0] for one in found]


@pytest.mark.parametrize("prompts", [0, 2, 9])
@torch.inference_mode()
def test_it_gives_the_masks_and_scores_of_the_original(heads: Heads, prompts: int) -> None:
    image, dense = torch.randn(2, 1, WIDTH, GRID, GRID)
    sparse = torch.randn(1, prompts, WIDTH)
    lean = LeanDecoder(heads.mask_decoder, heads.prompt_encoder.get_dense_pe())
    logits, scores = lean.predict_masks(image, sparse, dense)
    expected, sure = of_the_original(heads, image, sparse, dense)
    assert logits.shape == (4, 4 * GRID, 4 * GRID)
    assert expected.std() > 0.1  # or anything would do
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4 * float(expected.std()))
    torch.testing.assert_close(scores, sure, rtol=1e-4, atol=1e-4)


def test_only_the_originals_own_decoder_is_plain(heads: Heads) -> None:
    assert is_plain(heads.mask_decoder)
    assert not is_plain(positions_first(copy.deepcopy(heads.mask_decoder)))
    low_rank = copy.deepcopy(heads.mask_decoder)
    low_rank.transformer.layers[1].self_attn.q_proj = torch.nn.Sequential(
        low_rank.transformer.layers[1].self_attn.q_proj
    )
    assert not is_plain(low_rank)
