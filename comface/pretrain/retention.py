"""Against forgetting: what keeps a backbone near the one that its training started from.

Stages can be frozen, weights can be pulled towards the start's (L2-SP: Li, Grandvalet and Davoine, "Explicit
inductive bias for transfer learning with convolutional networks", 2018), and features can be pulled towards
those that the start has of the same images (distillation).
"""

from __future__ import annotations

import copy
from collections.abc import Collection
from typing import Final

import torch
from torch import Tensor, nn

from comface_bench.core.errors import UsageError
from comface_bench.core.names import did_you_mean


def list_stages(backbone: nn.Module) -> list[tuple[str, ...]]:
    """Divide a backbone into stages, from the image on.

    A stage is a part that stands in a row with others (a residual stage of a ResNet, a block of a
    transformer). What lies before the row is the first stage, with parameters of the backbone's own, and what
    lies behind it is the last.

    Returns:
        For each stage the names of its modules and parameters; together they hold every parameter.
    """
    prefix, module = "", backbone
    while len(parts := _parts(module)) == 1 and not list(module.parameters(recurse=False)):
        (name, module), prefix = parts[0], f"{prefix}{parts[0][0]}."
    own = tuple(prefix + name for name, _ in module.named_parameters(recurse=False))
    parts = _parts(module)
    rows = [name for name, part in parts if _is_row(part)]
    if _is_row(module) or not rows:
        stages = [own] if own else []
        for name, part in parts:
            if stages and (isinstance(part, _NORMS) or stages == [own]):
                stages[-1] += (prefix + name,)
            else:
                stages.append((prefix + name,))
        return stages
    first, last = (next(i for i, (name, _) in enumerate(parts) if name == row) for row in (rows[0], rows[-1]))
    stages = [own + tuple(prefix + name for name, _ in parts[:first])]
    for name, part in parts[first : last + 1]:
        if len(rows) == 1:
            stages += [(f"{prefix}{name}.{inner}",) for inner, _ in _parts(part)]
        else:
            stages.append((prefix + name,))
    stages.append(tuple(prefix + name for name, _ in parts[last + 1 :]))
    return [stage for stage in stages if stage]


_NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm)
"""They belong to the layer before them."""
NORMS: Final = "norms"
"""What `freeze` calls all of a backbone's normalisation layers."""


def _parts(module: nn.Module) -> list[tuple[str, nn.Module]]:
    return [(name, part) for name, part in module.named_children() if any(True for _ in part.parameters())]


def _is_row(module: nn.Module) -> bool:
    return isinstance(module, (nn.Sequential, nn.ModuleList)) and len(_parts(module)) > 1


def choose_frozen(backbone: nn.Module, freeze: str) -> tuple[str, ...]:
    """Return the modules and parameters of a backbone that a setting freezes.

    Args:
        backbone: The backbone.
        freeze: Words with commas between them: how many of its first stages, `norms` for all normalisation
            layers, names of modules and parameters; empty for none.

    Returns:
        Names in the backbone.

    Raises:
        UsageError: It has fewer stages, no normalisation layers, or no part of such a name.
    """
    if not freeze:
        return ()
    stages = list_stages(backbone)
    shown = "; ".join(f"{number}: {', '.join(stage)}" for number, stage in enumerate(stages, 1))
    known = {name for name, _ in backbone.named_modules()} | {name for name, _ in backbone.named_parameters()}
    found: list[str] = []
    for word in (part.strip() for part in freeze.split(",")):
        if word == NORMS:
            norms = [name for name, module in backbone.named_modules() if isinstance(module, _NORMS)]
            if not norms:
                raise UsageError(f"freeze={freeze}: the backbone has no normalisation layers")
            found += norms
        elif word.isascii() and word.isdecimal():
            if not 1 <= int(word) <= len(stages):
                raise UsageError(
                    f"freeze={freeze}: the backbone has {len(stages)} stages", f"They are {shown}"
                )
            found += [name for stage in stages[: int(word)] for name in stage]
        elif word and word in known:
            found.append(word)
        else:
            near = did_you_mean(word, {*known, NORMS})
            raise UsageError(
                f"freeze={freeze}: the backbone has no part {word!r}.{near}", f"Stages are {shown}"
            )
    return tuple(dict.fromkeys(found))


def list_moving_averages(backbone: nn.Module, frozen: Collection[str]) -> list[str]:
    """Return the batch norms whose averages a training replaces by those of its own images.

    Args:
        backbone: The backbone.
        frozen: Names in it of what is frozen, as `choose_frozen` returns them.
    """
    return [
        name
        for name, module in backbone.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
        and module.track_running_stats
        and not any(name == part or name.startswith(f"{part}.") for part in frozen)
    ]


class WeightPull:
    """L2 towards the start: λ/2 · Σ (w − w₀)², over the parameters that learn.

    Args:
        module: As it starts; its parameters now are w₀.
        strength: λ, above 0.
    """

    def __init__(self, module: nn.Module, strength: float) -> None:
        self._strength = strength
        self._learnt = [parameter for parameter in module.parameters() if parameter.requires_grad]
        self._start = [parameter.detach().clone() for parameter in self._learnt]

    @torch.no_grad()
    def add_gradient(self) -> Tensor:
        """Add the gradient, λ · (w − w₀), to those that the parameters have; return the value, a scalar."""
        total = torch.zeros((), dtype=torch.float64)
        for parameter, start in zip(self._learnt, self._start, strict=True):
            away = parameter - start
            total += away.square().sum().cpu()
            if parameter.grad is None:
                parameter.grad = self._strength * away
            else:
                parameter.grad.add_(away, alpha=self._strength)
        return 0.5 * self._strength * total


class FeaturePull:
    """Distillation of the start's features: w · mean (f − f₀)², over images and features.

    f₀ are those of the start in eval mode, which never learns.

    Args:
        backbone: As it starts, on its device; it is copied.
        weight: w, above 0.
    """

    def __init__(self, backbone: nn.Module, weight: float) -> None:
        self._weight = weight
        self._start = copy.deepcopy(backbone).eval().requires_grad_(False)

    @torch.no_grad()
    def compare(self, images: Tensor, features: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Compare features with the start's.

        Args:
            images: Normalised, (n, 3, H, W).
            features: What the backbone makes of them, float32 or wider, (n, D).
            count: Images of the whole step, over all chunks and processes.

        Returns:
            These images' share of the value, a scalar; its gradient with respect to the features, (n, D).
        """
        away = features.detach() - self._start(images).to(features.dtype)
        scale = self._weight / (count * features.shape[1])
        return scale * away.square().sum(), 2 * scale * away
