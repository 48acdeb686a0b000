"""hierarchical_gru: its chunks are counted from a context's first vector, and are summed up as they go."""

from __future__ import annotations

import pytest
import torch
from literal_models import SMALL

from lvm_fast.models.hierarchical_gru import HierarchicalGRU


def make(chunk_size: int = 4) -> HierarchicalGRU:
    return HierarchicalGRU(**SMALL["hierarchical_gru"], chunk_size=chunk_size).double().eval()


def through_whole_chunks(model: HierarchicalGRU, context: torch.Tensor) -> torch.Tensor:
    """The raw delta, (B, D), by running both encoders as modules over every chunk, the last one as short as it is."""
    summaries = [model.local_encoder(chunk)[:, -1] for chunk in context.split(model.chunk_size, dim=1)]
    answer = model.global_encoder(torch.stack(summaries, dim=1))[:, -1]
    return model.output_proj(answer) + model.residual_proj(context[:, -1])


@pytest.mark.parametrize("chunk_size", [1, 3, 10, 50])
def test_chunks_of_any_size(chunk_size):
    model, context = make(chunk_size), torch.randn(3, 21, 16, dtype=torch.float64)
    deltas = model.deltas(context)
    for steps in range(1, 22):
        expected = torch.nn.functional.normalize(through_whole_chunks(model, context[:, :steps]), dim=1)
        torch.testing.assert_close(model(context[:, :steps]), expected)
        torch.testing.assert_close(deltas[:, steps - 1], expected)


def test_a_vector_changes_what_comes_after_it_through_its_own_chunk_alone():
    model, context = make(), torch.randn(1, 12, 16, dtype=torch.float64)
    before = model.deltas(context)[0]
    context[0, 5] += 1.0
    after = model.deltas(context)[0]
    torch.testing.assert_close(after[:5], before[:5])
    assert ((after[5:] - before[5:]).abs().amax(dim=1) > 1e-9).all()
    summaries = model.local_encoder(context.view(3, 4, 16))
    torch.testing.assert_close(summaries[2:], model.local_encoder(context[:, 8:]))
