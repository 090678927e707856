"""An encoder that compiles in a second, which the tests name as a user names one of their own."""

from flax import linen as nn


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
