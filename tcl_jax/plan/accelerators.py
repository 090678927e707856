"""Public figures of accelerators, by the kind that JAX gives."""

from typing import NamedTuple


class Accelerator(NamedTuple):
    """Peak of one device of JAX, without sparsity.

    Attributes:
      bfloat16: FLOP/s of matrix products.
      float32: FLOP/s of matrix products in full precision (`Precision.HIGHEST`). TPUs make one of six in bfloat16.
      memory: bytes; None where devices of this kind differ.
    """

    bfloat16: float
    float32: float
    memory: int | None = None


def _tpu(bfloat16: float, gibibytes: int) -> Accelerator:
    return Accelerator(bfloat16, bfloat16 / 6, gibibytes * 2**30)


# Vendors' data sheets. A kind that begins with one of these is taken for it; the longest that fits counts.
_ACCELERATORS = {
    "TPU v4": _tpu(275e12, 32),
    "TPU v5 lite": _tpu(197e12, 16),  # v5e
    "TPU v5": _tpu(459e12, 95),  # v5p
    "TPU v5p": _tpu(459e12, 95),
    "TPU v6 lite": _tpu(918e12, 32),  # v6e
    "NVIDIA A100": Accelerator(312e12, 19.5e12),
    "NVIDIA H100 80GB HBM3": Accelerator(989e12, 67e12),  # SXM
    "NVIDIA H200": Accelerator(989e12, 67e12),
}


def find_accelerator(kind: str) -> Accelerator | None:
    """The figures of a `device_kind` of JAX, or None where none are known."""
    known = [name for name in _ACCELERATORS if kind.startswith(name)]
    return _ACCELERATORS[max(known, key=len)] if known else None
