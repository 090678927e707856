"""The methods in PyTorch: eager, as their authors' code runs."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks.machine import num_cores, on_gpu
from benchmarks.methods import Prepared
from benchmarks.problems import K1, K2, TEMPERATURE, Problem


def dense_tcl(rows: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Eq. 4 of arXiv 2305.10675 the way that SupContrast writes losses: full n x n logits, masks and exponentials."""
    similarity = rows @ rows.T
    logits = similarity / TEMPERATURE
    shift = logits.max(dim=1, keepdim=True).values.detach()
    logits = logits - shift
    same_class = torch.eq(labels[:, None], labels[None, :]).float()
    others = torch.ones_like(same_class).fill_diagonal_(0.0)
    positive = same_class * others
    negative = others - positive
    exp_logits = torch.exp(logits)
    repulsion = torch.exp(-similarity - shift)
    denominator = (
        (exp_logits * positive).sum(1, keepdim=True)
        + K1 * (repulsion * positive).sum(1, keepdim=True)
        + K2 * (exp_logits * negative).sum(1, keepdim=True)
    )
    log_probability = logits - torch.log(denominator)
    num_positives = positive.sum(1)
    counts = num_positives > 0
    per_anchor = -(positive * log_probability).sum(1) / torch.where(counts, num_positives, 1.0)
    return per_anchor[counts].mean()


def tcl(problem: Problem) -> Prepared:
    return _eager(dense_tcl, problem, problem.labels)


def supcon(problem: Problem) -> Prepared:
    from pytorch_metric_learning import distances, losses

    # Rows have unit length already; ours does not divide by it either.
    distance = distances.DotProductSimilarity(normalize_embeddings=False)
    return _eager(losses.SupConLoss(temperature=TEMPERATURE, distance=distance), problem, problem.labels)


def _eager(function: Callable[..., torch.Tensor], problem: Problem, labels: np.ndarray) -> Prepared:
    torch.set_num_threads(num_cores())
    device = "cuda" if on_gpu() else "cpu"
    rows = torch.tensor(problem.embeddings, dtype=getattr(torch, problem.dtype), device=device)
    rows.requires_grad_()
    targets = torch.tensor(labels, dtype=torch.int64, device=device)

    def run() -> tuple[torch.Tensor, torch.Tensor]:
        loss = function(rows.float(), targets)
        (gradient,) = torch.autograd.grad(loss, rows)
        if device == "cuda":
            torch.cuda.synchronize()
        return loss.detach(), gradient

    def read(result: Any) -> tuple[float, np.ndarray]:
        loss, gradient = result
        return float(loss), gradient.float().cpu().numpy()

    return Prepared(run, read, None)
