import numpy as np

from tcl_jax.data import Dataset, Split, channel_statistics


def test_channel_statistics_are_those_of_the_training_images():
    images = np.random.RandomState(2).randint(0, 256, (1030, 3, 2, 3), np.uint8)
    split = Split(images, np.zeros(len(images), np.int32))
    dataset = Dataset(
        "random", train=split, test=Split(split.images[:1], split.labels[:1]), class_names=("a",)
    )
    np.testing.assert_allclose(dataset.channel_statistics.mean, (images / 255).mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(dataset.channel_statistics.std, (images / 255).std((0, 1, 2)), rtol=1e-12)


def test_channel_statistics_are_exact():
    """No order of summation and no precision shows: 2 of 3 pixels are white."""
    images = np.array([0, 255, 255], np.uint8).reshape(3, 1, 1, 1)
    assert channel_statistics(images) == ((2 / 3,), ((2 / 9) ** 0.5,))
    assert channel_statistics(np.tile(images, (1, 100, 100, 1))) == channel_statistics(images)


def test_channel_of_one_value_can_be_divided_by():
    assert channel_statistics(np.full((4, 2, 2, 1), 51, np.uint8)) == ((0.2,), (1.0,))
