"""Three public kinds of models with recurrent layers of torch's own, written afresh, and a batch of data for each."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence


class SpeechEnhancer(nn.Module):
    """A mask for the spectrogram of noisy speech: a linear map, two GRU layers, a linear map, as in NSNet2."""

    def __init__(self, bins: int = 257, width: int = 400) -> None:
        super().__init__()
        self.enter = nn.Linear(bins, width)
        self.gru = nn.GRU(width, width, num_layers=2, batch_first=True)
        self.leave = nn.Sequential(nn.Linear(width, 600), nn.ReLU(), nn.Linear(600, bins), nn.Sigmoid())

    def forward(self, noisy: Tensor) -> Tensor:
        """(B, N, bins) -> (B, N, bins), the clean spectrogram."""
        states, _ = self.gru(self.enter((noisy + 1e-6).log()))
        mask: Tensor = self.leave(states)
        return noisy * mask


class Forecaster(nn.Module):
    """Mean and deviation of the next value of a series at every hour: an LSTM of three layers, as in DeepAR."""

    def __init__(self, covariates: int = 8, width: int = 128) -> None:
        super().__init__()
        self.lstm = nn.LSTM(1 + covariates, width, num_layers=3, dropout=0.1)
        self.head = nn.Linear(width, 2)

    def forward(self, series: Tensor) -> tuple[Tensor, Tensor]:
        """(N, B, 1 + covariates) -> two of (N, B)."""
        states, _ = self.lstm(series)
        mean, deviation = self.head(states).unbind(dim=2)
        return mean, F.softplus(deviation) + 1e-3


class SessionRecommender(nn.Module):
    """Scores of all items after sessions of several lengths: embeddings and a GRU, as in GRU4Rec."""

    def __init__(self, items: int = 5000, width: int = 100) -> None:
        super().__init__()
        self.items = nn.Embedding(items, width)
        self.gru = nn.GRU(width, width)

    def forward(self, clicks: Tensor, lengths: Tensor) -> Tensor:
        """Clicks (N, B), lengths (B,) -> (B, items)."""
        _, final = self.gru(pack_padded_sequence(self.items(clicks), lengths, enforce_sorted=False))
        scores: Tensor = final[-1] @ self.items.weight.T
        return scores


class Task(NamedTuple):
    """A model, its inputs, and what it should give."""

    model: nn.Module
    inputs: tuple[Tensor, ...]
    target: Tensor

    def loss(self) -> Tensor:
        """Mean squared error, Gaussian likelihood or cross-entropy, whichever the model is for."""
        made = self.model(*self.inputs)
        if isinstance(made, tuple):
            mean, deviation = made
            return F.gaussian_nll_loss(mean, self.target, deviation.square())
        if self.target.dtype == torch.int64:
            return F.cross_entropy(made, self.target)
        return F.mse_loss(made, self.target)


def speech_enhancer() -> Task:
    """Sixteen clips of four seconds, a frame each 20 ms."""
    clean = torch.rand(16, 200, 257)
    return Task(SpeechEnhancer(), (clean + 0.3 * torch.rand(16, 200, 257),), clean)


def forecaster() -> Task:
    """Sixty-four weeks, an hour a step."""
    hours = torch.arange(169.0)[:, None] + torch.randint(0, 168, (1, 64))
    values = (hours * torch.pi / 12).sin() + 0.1 * torch.randn(169, 64)  # (N + 1, B)
    inputs = torch.cat((values[:-1, :, None], torch.randn(168, 64, 8)), dim=2)
    return Task(Forecaster(), (inputs,), values[1:])


def session_recommender() -> Task:
    """Two hundred and fifty-six sessions of 2 to 20 clicks."""
    lengths = torch.randint(2, 21, (256,))
    return Task(SessionRecommender(), (torch.randint(0, 5000, (20, 256)), lengths), torch.randint(0, 5000, (256,)))


TASKS = {
    "speech enhancer, 2 GRU layers of 400, 200 frames, batch 16": speech_enhancer,
    "forecaster, 3 LSTM layers of 128, 168 hours, batch 64": forecaster,
    "session recommender, GRU of 100, 2 to 20 clicks, batch 256": session_recommender,
}
