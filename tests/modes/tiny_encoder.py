"""An encoder that compiles in a second, which the tests name as a user names one of their own."""

import functools

from flax import linen as nn

from tcl_jax.models import ConvNeXt, ViT

# The package's own with few blocks, which are compiled sooner.
shallow_vit = functools.partial(ViT, depth=2, heads=3)
shallow_convnext = functools.partial(ConvNeXt, blocks=(1, 1, 1, 1), channels=40)


class Tiny(nn.Module):
    """What matters of a ResNet here: convolutions, BatchNorm, mean."""

    width: int
    axis_name: str | None = None

    @nn.compact
    def __call__(self, images, *, train):
        for stage, features in enumerate((self.width, 2 * self.width)):
            images = nn.Conv(features, (3, 3), strides=stage + 1, name=f"conv{stage}")(images)
            images = nn.BatchNorm(
                use_running_average=not train,
                momentum=0.9,
                axis_name=self.axis_name,
                use_fast_variance=False,
                name=f"bn{stage}",
            )(images)
            images = nn.relu(images)
        return images.mean(axis=(1, 2))


class Deep(nn.Module):
    """Many layers without a BatchNorm, whose outputs soon are the same for all images where the rate is high."""

    width: int

    @nn.compact
    def __call__(self, images):
        x = images.reshape(len(images), -1)
        for _ in range(12):
            x = nn.relu(nn.Dense(self.width)(x))
        return x
