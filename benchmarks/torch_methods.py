"""The methods in PyTorch: eager, as their authors' code runs."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks.machine import num_cores, on_gpu
from benchmarks.methods import Prepared
from benchmarks.problems import K1, K2, TEMPERATURE, Problem
from benchmarks.torch_network import dense_loss


def tcl(problem: Problem) -> Prepared:
    dense = functools.partial(dense_loss, temperature=TEMPERATURE, k1=K1, k2=K2)
    return _eager(dense, problem, problem.labels)


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
