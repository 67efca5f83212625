"""The training objective: loss, clipping, and the rules for divergence and for the best epoch.

The training loop, stacked heads and the gradient probe use the same objective. Stacked heads have the dimensions
[S seeds, R recipes] before those of one head.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headstart.errors import DivergedError
from headstart.i18n import _
from headstart.metrics.registry import DEFAULT_METRIC
from headstart.metrics.values import counts_value
from headstart.training.scoring import Score


@dataclass(frozen=True)
class Objective:
    """The loss that a training minimizes, and the order of its epochs.

    Args:
        class_weights: Weight of each class in the loss, [classes] or [S, R, classes]; None for equal weights.
        label_smoothing: Share of the uniform distribution in the targets, one number or [S or 1, R].
        clip: Largest norm of all gradients of a network or head together; 0 for no clipping.
        select: Name of the metric that selects the best epoch.
    """

    class_weights: Tensor | None = None
    label_smoothing: float | Tensor = 0.0
    clip: float = 0.0
    select: str = DEFAULT_METRIC

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the weighted cross-entropy with label smoothing, as torch's `cross_entropy` defines it.

        Args:
            logits: Float32 [n, classes], or [S, R, n, classes] of stacked heads.
            labels: Int64 [n], or [S, 1, n].

        Returns:
            The mean over the n rows: a scalar, or [S, R].
        """
        if logits.ndim == 2:
            smoothing = float(self.label_smoothing)
            return F.cross_entropy(logits, labels, weight=self.class_weights, label_smoothing=smoothing)
        return self._stacked_loss(logits, labels)

    def _stacked_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of each head, with class weights w and label smoothing e.

        (1 - e) Σ w[y] (-log p[y]) / Σ w[y]  +  e / C · Σ Σ_c w[c] (-log p[c]) / Σ w[y], summed over the batch's rows.
        """
        logs = F.log_softmax(logits, -1)
        targets = labels.unsqueeze(-1).expand(*logs.shape[:3], 1)
        weights = torch.ones(logs.shape[-1], device=logs.device) if self.class_weights is None else self.class_weights
        weights = (weights.unsqueeze(2) if weights.ndim > 1 else weights).expand_as(logs)
        target_weights = weights.gather(-1, targets).squeeze(-1)
        total_weight = target_weights.sum(-1)
        loss = -(target_weights * logs.gather(-1, targets).squeeze(-1)).sum(-1) / total_weight
        smoothing = torch.as_tensor(self.label_smoothing, device=logs.device)
        if bool(smoothing.any()):
            uniform = -(weights * logs).sum((-1, -2)) / logs.shape[-1] / total_weight
            loss = (1 - smoothing) * loss + smoothing * uniform
        return loss

    def clip_gradients(self, parameters: Iterable[nn.Parameter], *, stacked: bool = False) -> None:
        """Scale the gradients to a norm of at most `clip`, as `torch.nn.utils.clip_grad_norm_` does.

        Args:
            parameters: Parameters with gradients.
            stacked: The first dimension is that of heads, each of which is clipped by its own norm.
        """
        if not self.clip:
            return
        if stacked:
            _clip_each([p.grad for p in parameters if p.grad is not None], self.clip)
        else:
            nn.utils.clip_grad_norm_(parameters, self.clip)

    def rank(self, score: Score) -> tuple[float, float]:
        """Return the key that orders epochs: the metric on val, then the lower loss. The highest one is the best."""
        return (counts_value(self.select, score.counts), -score.loss)


def is_better(rank: tuple[float, float], best: tuple[float, float] | None) -> bool:
    """Return whether an epoch is better than the best so far.

    Args:
        rank: The `rank` of the epoch; one whose metric is not a number is never better.
        best: The `rank` of the best epoch so far; None before the first.
    """
    return not math.isnan(rank[0]) and (best is None or rank > best)


def count_correct(logits: Tensor, labels: Tensor) -> Tensor:
    """Return how many rows have the largest logit at the label; logits [..., n, classes], labels [..., n]."""
    return (logits.argmax(-1) == labels).sum(-1)


def require_finite(kind: Literal["training", "validation"], loss: float, step: int) -> None:
    """Raise DivergedError if a loss is not finite.

    Args:
        kind: Which loss: `training` or `validation`.
        loss: The loss.
        step: The step, from 1.
    """
    if not math.isfinite(loss):
        message = (
            _("The training loss became {loss} at step {step}.", loss=loss, step=step)
            if kind == "training"
            else _("The validation loss became {loss} at step {step}.", loss=loss, step=step)
        )
        raise DivergedError(message, _("Divide --lr by 10."))


@torch.no_grad()
def _clip_each(gradients: Sequence[Tensor], max_norm: float) -> None:
    """Clip the gradients [heads, …] of each head separately."""
    norms = torch.stack([torch.linalg.vector_norm(g.flatten(1), dim=1) for g in gradients])
    factors = (max_norm / (torch.linalg.vector_norm(norms, dim=0) + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(factors.view(-1, *[1] * (gradient.ndim - 1)))
