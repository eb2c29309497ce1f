"""The learning rate, step by step."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from comface_bench.comface.pretrain.settings import Settings


def learning_rate(settings: Settings, step: int, progress: float) -> float:
    """Return the rate of a step.

    Args:
        settings: Rate, schedule and warm-up.
        step: Number of the step in all, from 0.
        progress: Epochs done before the step, in fractions: 0 to `settings.epochs`.
    """
    if settings.schedule == "cosine":
        factor = 0.5 * (1 + math.cos(math.pi * progress / settings.epochs))
    else:
        # "Halved in 10 epochs" (Table B), read as: from epoch 10 on, half.
        factor = 0.5 if progress >= settings.halve_at - 1 else 1.0
    warm = min(1.0, (step + 1) / settings.warmup_steps) if settings.warmup_steps else 1.0
    return settings.learning_rate * factor * warm
