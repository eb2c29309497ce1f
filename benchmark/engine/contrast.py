"""Momentum contrast with weighted positives: how the earlier edema method pre-trains (Akamatsu et al., 2023).

Momentum contrast (He et al., CVPR 2020) compares an image's query with keys that a slowly following copy of
the network made, those of earlier batches included. Here all keys of the same state of dialysis are
positives, each with a weight: the closer its body weight, the more it counts. That much is published; the
formulas are ours (docs/choices.md).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

_WIDEST = 2048
"""Width of a projector's hidden layer is that of the features, but no more than this: some are whole maps."""


def weighted_contrast(queries: Tensor, keys: Tensor, positives: Tensor, temperature: float) -> Tensor:
    """Return the mean over queries of −Σ p_k log softmax_k(q·k / temperature), p positives over their sum.

    Args:
        queries: Of unit length, (n, P).
        keys: Of unit length, (m, P).
        positives: Weight of each key for each query, not negative, (n, m); each query has one above 0.
        temperature: Above 0.

    Returns:
        A scalar.
    """
    surprise = -(queries @ keys.T / temperature).log_softmax(dim=1)
    return ((positives * surprise).sum(dim=1) / positives.sum(dim=1)).mean()


@dataclass(frozen=True, eq=False)
class Condition:
    """In which state some images were taken.

    Attributes:
        after: Whether after dialysis, bool (n,).
        weights: Body weight in kg, (n,).
    """

    after: Tensor
    weights: Tensor

    def closeness(self, others: Condition, bandwidth: float | None) -> Tensor:
        """Return the weight of each of some other images as a positive of each of these, (n, m), from 0 to 1.

        Args:
            others: m images.
            bandwidth: In kg, of the Gauss curve by which weights count as close; None lets all count the
                same.

        Returns:
            0 for images of the other state.
        """
        same = self.after[:, None] == others.after[None, :]
        if bandwidth is None:
            return same.to(self.weights.dtype)
        difference = (self.weights[:, None] - others.weights[None, :]) / bandwidth
        return same * torch.exp(-0.5 * difference.square())

    def join(self, others: Condition, count: int | None = None) -> Condition:
        """Return these images with others after them, cut to the first `count`."""
        joined = [torch.cat(pair)[:count] for pair in zip(self._parts, others._parts, strict=True)]
        return Condition(*joined)

    @property
    def _parts(self) -> tuple[Tensor, Tensor]:
        return self.after, self.weights


class MomentumContrast(nn.Module):
    """A network with a projector, a copy of both that follows by momentum, and a queue of the copy's keys.

    Args:
        encoder: From images to features; trained in place.
        features: D.
        projection: P, length of queries and keys.
        momentum: Share of its own parameters that the copy keeps in each step, from 0 to 1.
        queue: Keys of earlier steps that are kept, the newest ones.
        seed: Of the projector's weights.
    """

    def __init__(
        self, encoder: nn.Module, features: int, projection: int, momentum: float, queue: int, seed: int
    ) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            hidden = min(features, _WIDEST)
            projector = nn.Sequential(nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, projection))
        device = next(encoder.parameters()).device
        self.encoder, self.projector = encoder, projector.to(device)
        self.slow = nn.ModuleList([copy.deepcopy(self.encoder), copy.deepcopy(self.projector)])
        self.slow.requires_grad_(False)
        self._momentum, self._size = momentum, queue
        self.keys = torch.empty(0, projection, device=device)
        self.condition = Condition(
            torch.empty(0, dtype=torch.bool, device=device), torch.empty(0, device=device)
        )

    def trained(self) -> list[nn.Parameter]:
        """Return the parameters that a step of the optimiser changes."""
        return [*self.encoder.parameters(), *self.projector.parameters()]

    def loss(
        self,
        images: Tensor,
        others: Tensor,
        condition: Condition,
        bandwidth: float | None,
        temperature: float,
        autocast: torch.autocast,
    ) -> Tensor:
        """Return the loss of a batch, and queue its keys.

        Args:
            images: One view of each image, (n, 3, H, W), of which queries are made.
            others: Another view of each, of which keys are made.
            condition: Of the images.
            bandwidth: As `Condition.closeness` takes it.
            temperature: Of the softmax.
            autocast: Context in which networks run.
        """
        with autocast:
            features = self.encoder(images)
        queries = functional.normalize(self.projector(features.float()), dim=1)
        with torch.no_grad():
            self._follow()
            with autocast:
                features = self.slow[0](others)
            keys = functional.normalize(self.slow[1](features.float()), dim=1)
        every, conditions = torch.cat([keys, self.keys]), condition.join(self.condition)
        positives = condition.closeness(conditions, bandwidth)
        self.keys = every[: self._size]
        self.condition = condition.join(self.condition, self._size)
        return weighted_contrast(queries, every, positives, temperature)

    def _follow(self) -> None:
        for fast, slow in zip((self.encoder, self.projector), self.slow, strict=True):
            for leading, following in zip(fast.parameters(), slow.parameters(), strict=True):
                following.lerp_(leading, 1 - self._momentum)

    def state(self) -> dict[str, Any]:
        """Return all that the next step depends on but the encoder's own state and the optimiser's."""
        return {
            "projector": self.projector.state_dict(),
            "slow": self.slow.state_dict(),
            "keys": self.keys,
            "after": self.condition.after,
            "weights": self.condition.weights,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a state that `state` gave."""
        self.projector.load_state_dict(state["projector"])
        self.slow.load_state_dict(state["slow"])
        device = self.keys.device
        self.keys = state["keys"].to(device)
        self.condition = Condition(state["after"].to(device), state["weights"].to(device))
