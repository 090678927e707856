"""The methods in PyTorch: eager, as their authors' code runs."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks.machine import num_cores, on_gpu
from benchmarks.methods import Prepared
from benchmarks.problems import BIAS, K1, K2, SCALE, TEMPERATURE, Problem
from benchmarks.torch_network import dense_loss


def tcl(problem: Problem) -> Prepared:
    dense = functools.partial(dense_loss, temperature=TEMPERATURE, k1=K1, k2=K2)
    return _eager(dense, problem, problem.embeddings, problem.labels)


def supcon(problem: Problem) -> Prepared:
    return _eager(_supcon_of_pml(), problem, problem.embeddings, problem.labels)


def queue(problem: Problem) -> Prepared:
    from pytorch_metric_learning.utils import loss_and_miner_utils

    loss = _supcon_of_pml()

    # What CrossBatchMemory does with a full queue, but with the derivative by the batch as columns too, as in ours.
    def against_queue(rows: torch.Tensor, labels: torch.Tensor, *queue: torch.Tensor) -> torch.Tensor:
        columns, classes = (torch.cat(both) for both in zip((rows, labels), queue, strict=True))
        pairs = loss_and_miner_utils.get_all_pairs_indices(labels, classes)
        own = torch.arange(len(rows), device=rows.device)
        pairs = loss_and_miner_utils.remove_self_comparisons(pairs, own, len(columns))
        return loss(rows, labels, pairs, columns, classes)

    batch = problem.batch, problem.batch_labels
    return _eager(against_queue, problem, *batch, problem.embeddings, problem.labels)


def clip(problem: Problem) -> Prepared:
    from open_clip.loss import ClipLoss

    loss = functools.partial(ClipLoss(), logit_scale=SCALE)
    return _eager(loss, problem, problem.embeddings, problem.others, differentiated=2)


def siglip(problem: Problem) -> Prepared:
    from open_clip.loss import SigLipLoss

    loss = functools.partial(SigLipLoss(), logit_scale=SCALE, logit_bias=BIAS)
    return _eager(loss, problem, problem.embeddings, problem.others, differentiated=2)


def _supcon_of_pml() -> Callable[..., torch.Tensor]:
    from pytorch_metric_learning import distances, losses

    # Rows have unit length already; ours does not divide by it either.
    distance = distances.DotProductSimilarity(normalize_embeddings=False)
    return losses.SupConLoss(temperature=TEMPERATURE, distance=distance)


def _eager(
    function: Callable[..., torch.Tensor], problem: Problem, *arrays: np.ndarray, differentiated: int = 1
) -> Prepared:
    """`function(*arrays)` with its gradient by the first of them, as many as are `differentiated`."""
    torch.set_num_threads(num_cores())
    device = "cuda" if on_gpu() else "cpu"
    dtypes = {"f": getattr(torch, problem.dtype), "i": torch.int64}
    tensors = [torch.tensor(x, dtype=dtypes[x.dtype.kind], device=device) for x in arrays]
    rows = [x.requires_grad_() for x in tensors[:differentiated]]

    def run() -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        loss = function(*(x.float() if x.is_floating_point() else x for x in tensors))
        gradients = torch.autograd.grad(loss, rows)
        if device == "cuda":
            torch.cuda.synchronize()
        return loss.detach(), gradients

    def read(result: Any) -> tuple[float, np.ndarray]:
        loss, gradients = result
        return float(loss), torch.cat(gradients).float().cpu().numpy()

    return Prepared(run, read, None, None)
