"""amn: what its attention means."""

from __future__ import annotations

import torch
from literal_models import SMALL

from lvm_fast.models.amn import AMN


def test_with_equal_keys_it_reads_the_mean_twice():
    model = AMN(**SMALL["amn"]).double()
    with torch.no_grad():
        model.context_encoder.weight.zero_()
    context = torch.randn(3, 7, 16, dtype=torch.float64)
    means = context.cumsum(dim=1) / torch.arange(1, 8)[:, None]
    torch.testing.assert_close(model.hidden(context, None), torch.cat((means, means), dim=-1))
    lengths = torch.tensor([7, 1, 4])
    expected = means[torch.arange(3), lengths - 1]
    torch.testing.assert_close(model.last_hidden(context, lengths), torch.cat((expected, expected), dim=-1))


def test_a_loud_key_is_all_it_reads():
    model = AMN(**SMALL["amn"]).double()
    context = torch.randn(1, 6, 16, dtype=torch.float64)
    with torch.no_grad():
        query = model.query_encoder(context.mean(dim=1))  # (1, A)
        wanted = context[0, 2] @ context[0].T  # vector 2 stands out from the others along itself
        others = torch.cat((wanted[:2], wanted[3:]))
        assert wanted[2] > others.max()
        model.context_encoder.weight.copy_(1e4 * query.T @ context[:, 2])
        model.context_encoder.bias.zero_()
    torch.testing.assert_close(model.last_hidden(context, None)[0, 16:], context[0, 2])
