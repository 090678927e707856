"""What augmentation expects of an image."""

import jax
import jax.numpy as jnp


def check_image(name: str, image: jax.Array) -> None:
    """Raises ValueError unless the image given to the policy `name` is uint8 [h, w, 1 or 3]."""
    if image.ndim != 3 or image.shape[-1] not in (1, 3) or image.dtype != jnp.uint8:
        raise ValueError(
            f"{name} expects a uint8 image [h, w, 1 or 3], got {image.dtype} {list(image.shape)}."
        )
