"""The steps since the last logged one, as the sums that a line of metrics is made of."""

from __future__ import annotations

from dataclasses import dataclass

from lrps.ledger.metrics import Metrics


@dataclass
class MetricsWindow:
    """Sums over the steps since the last logged one."""

    steps: int = 0
    loss_sum: float = 0.0
    seconds: float = 0.0
    lr: float = 0.0
    grad_norm: float | None = None

    def add(self, loss: float, lr: float, grad_norm: float | None, seconds: float) -> None:
        """Add a step that took `seconds` of wall-clock time."""
        self.steps += 1
        self.loss_sum += loss
        self.seconds += seconds
        self.lr, self.grad_norm = lr, grad_norm

    def take(self, step: int, tokens_per_step: int) -> Metrics:
        """Return the metrics of the steps up to lineage step `step`, at least one, and reset the sums."""
        metrics = Metrics(
            step=step,
            tokens=step * tokens_per_step,
            loss=self.loss_sum / self.steps,
            lr=self.lr,
            grad_norm=self.grad_norm,
            tokens_per_second=self.steps * tokens_per_step / max(self.seconds, 1e-9),
        )
        self.steps, self.loss_sum, self.seconds = 0, 0.0, 0.0
        return metrics
