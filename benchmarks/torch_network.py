"""A step of contrastive training in PyTorch, of the same network, loss and optimizer, to be compared with ours.

The ResNet has the names and layout of torchvision's, with our stem for small images and any width, so that our exported
weights go in as they are; the loss is the dense form of the papers' code.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks.machine import num_cores, on_gpu

_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}


class Step:
    """One step after another on one batch that lies on the device, without augmentation.

    On a GPU the way from images to the loss is compiled; everywhere images lie channels last.

    Args:
      network, loss, sgd: arguments of `ResNet`, of `dense_loss` and of SGD.
      encoder, head: tensors by torchvision's names, from `tcl_jax.models.torchvision`.
      images: uint8 [b, h, w, c]. ids: int [b], equal for positives. num_views: copies of each image.
      mean, std: [c], by which pixels divided by 255 are normalised.
      narrow: compute the encoder in bfloat16 (autocast), else all in float32 without TF32.
      compiled: False leaves it as written on a GPU too.
    """

    def __init__(
        self,
        encoder: Mapping[str, np.ndarray],
        head: Mapping[str, np.ndarray],
        images: np.ndarray,
        ids: np.ndarray,
        *,
        network: Mapping[str, Any],
        loss: Mapping[str, float],
        sgd: Mapping[str, float],
        num_views: int,
        mean: Sequence[float],
        std: Sequence[float],
        narrow: bool,
        compiled: bool,
    ):
        torch.set_num_threads(num_cores())
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        device = "cuda" if on_gpu() else "cpu"
        self.encoder = ResNet(**network)
        self.head = _head(head)
        self.encoder.load_state_dict(_tensors(encoder))
        self.head.load_state_dict(_tensors(head))
        self.encoder.to(device, memory_format=torch.channels_last)
        self.head.to(device)
        self._images = torch.tensor(images, device=device)
        self._ids = torch.tensor(ids, device=device, dtype=torch.int64).repeat(num_views)
        parameters = [*self.encoder.parameters(), *self.head.parameters()]
        self._optimizer = torch.optim.SGD(parameters, **sgd, fused=device == "cuda")
        centre, scale = (torch.tensor(x, device=device).view(1, -1, 1, 1) for x in (mean, std))

        def loss_of(images: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
            # Rows of pixels with their channels beside each other are what channels_last means.
            views = (images.permute(0, 3, 1, 2).float() / 255 - centre) / scale
            views = torch.cat([views] * num_views).contiguous(memory_format=torch.channels_last)
            with torch.autocast(device, dtype=torch.bfloat16, enabled=narrow):
                features = self.encoder(views)
            rows = functional.normalize(self.head(features))
            return dense_loss(rows, ids, **loss)

        self._loss_of: Callable[..., torch.Tensor] = torch.compile(loss_of) if compiled else loss_of

    def run(self) -> torch.Tensor:
        """A step; its loss, before the update."""
        self._optimizer.zero_grad(set_to_none=True)
        loss = self._loss_of(self._images, self._ids)
        loss.backward()
        self._optimizer.step()
        return loss.detach()

    def parameters(self) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Those of encoder and head, by their names."""
        encoder, head = (
            {name: value.detach().cpu().numpy().copy() for name, value in module.named_parameters()}
            for module in (self.encoder, self.head)
        )
        return encoder, head


def dense_loss(
    rows: torch.Tensor, ids: torch.Tensor, temperature: float, k1: float, k2: float
) -> torch.Tensor:
    """TCL (Eq. 4 of arXiv 2305.10675) the way that SupContrast writes losses: n x n logits, masks and exponentials.

    rows float32 [n, d] of unit length, ids int [n]. The mean over the rows that have a positive. Without k1 there is no
    repulsion of positives to compute, as in SupCon.
    """
    similarity = rows @ rows.T
    logits = similarity / temperature
    shift = logits.max(dim=1, keepdim=True).values.detach()
    logits = logits - shift
    same = torch.eq(ids[:, None], ids[None, :]).float()
    others = 1 - torch.eye(len(ids), device=rows.device)
    positive = same * others
    exponentials = torch.exp(logits)
    denominator = (exponentials * (positive + k2 * (others - positive))).sum(1, keepdim=True)
    if k1:
        denominator = denominator + k1 * (torch.exp(-similarity - shift) * positive).sum(1, keepdim=True)
    log_probability = logits - torch.log(denominator)
    num_positives = positive.sum(1)
    per_anchor = -(positive * log_probability).sum(1) / num_positives.clamp(min=1)
    counts = (num_positives > 0).float()
    return (per_anchor * counts).sum() / counts.sum()


class ResNet(nn.Module):
    """Images [n, c, h, w] -> features [n, 8 * width * expansion] in float32; v1.5, named as torchvision's."""

    def __init__(self, depth: int, stem: str, width: int, channels: int):
        super().__init__()
        expansion = 1 if depth < 50 else 4
        small = stem == "cifar"
        self.conv1 = _conv(channels, width, 3 if small else 7, 1 if small else 2)
        self.bn1 = nn.BatchNorm2d(width)
        self.maxpool = nn.Identity() if small else nn.MaxPool2d(3, stride=2, padding=1)
        before = width
        for stage, size in enumerate(_BLOCKS[depth]):
            blocks = []
            for number in range(size):
                stride = 2 if stage > 0 and number == 0 else 1
                blocks.append(_Block(before, width * 2**stage, expansion, stride))
                before = width * 2**stage * expansion
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.num_features = before

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """The features."""
        x = self.maxpool(functional.relu(self.bn1(self.conv1(images))))
        for stage in range(1, 5):
            x = self.get_submodule(f"layer{stage}")(x)
        return x.float().mean(dim=(2, 3))


class _Block(nn.Module):
    """Convolutions with BatchNorm, two 3x3 (expansion 1) or 1x1, 3x3 and 1x1 (expansion 4), and a shortcut."""

    def __init__(self, before: int, channels: int, expansion: int, stride: int):
        super().__init__()
        after = channels * expansion
        if expansion == 1:
            convolutions = [_conv(before, channels, 3, stride), _conv(channels, after, 3, 1)]
        else:
            convolutions = [
                _conv(before, channels, 1, 1),
                _conv(channels, channels, 3, stride),
                _conv(channels, after, 1, 1),
            ]
        self.depth = len(convolutions)
        for number, conv in enumerate(convolutions, 1):
            self.add_module(f"conv{number}", conv)
            self.add_module(f"bn{number}", nn.BatchNorm2d(conv.out_channels))
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or before != after:
            self.downsample = nn.Sequential(_conv(before, after, 1, stride), nn.BatchNorm2d(after))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x
        for number in range(1, self.depth + 1):
            y = self.get_submodule(f"bn{number}")(self.get_submodule(f"conv{number}")(y))
            if number < self.depth:
                y = functional.relu(y)
        return functional.relu(y + self.downsample(x))


def _conv(before: int, after: int, size: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(before, after, size, stride=stride, padding=(size - 1) // 2, bias=False)


def _head(tensors: Mapping[str, np.ndarray]) -> nn.Sequential:
    """Two layers, as wide as the tensors."""
    first, second = (nn.Linear(*tensors[f"{layer}.weight"].shape[::-1]) for layer in (0, 2))
    return nn.Sequential(first, nn.ReLU(), second)


def _tensors(arrays: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(array) for name, array in arrays.items()}
