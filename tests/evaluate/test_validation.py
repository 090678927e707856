"""kNN of held-out images, with everything between the images and the accuracy."""

import numpy as np

from tcl_jax.data import TrainValidationSplit
from tcl_jax.evaluate import METRICS, extract_features, make_validate
from tcl_jax.models import make_encode
from tcl_jax.parallel import make_mesh


def test_held_out_images_are_classified_by_the_bank_alone(frozen, split):
    mesh = make_mesh(8)
    encode = make_encode(frozen.model, mean=frozen.mean, std=frozen.std, mesh=mesh)
    extract_features(encode, frozen.variables, split, batch_size=32, mesh=mesh)
    validation, bank = np.arange(0, 110, 4), np.arange(1, 110, 4)
    indices = TrainValidationSplit(np.setdiff1d(np.arange(110), validation), validation, bank)
    # Labels that the images do not show, so that an accuracy is that of these neighbours and no others.
    split = split._replace(labels=np.random.default_rng(1).integers(0, 3, 110).astype(np.int32))
    validate = make_validate(METRICS["knn"], encode, split, indices, num_classes=3, batch_size=32, mesh=mesh)

    features = frozen.features(split.images)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    cosines = unit[validation] @ unit[bank].T
    nearest = np.argsort(-cosines, axis=1)[:, :20]
    votes = np.exp(np.take_along_axis(cosines, nearest, axis=1) / 0.07)
    scores = [votes @ np.eye(3)[split.labels[bank]][n] for votes, n in zip(votes, nearest, strict=True)]
    expected = np.mean(np.argmax(scores, axis=1) == split.labels[validation])
    assert 0 < expected < 1
    assert validate(frozen.variables) == expected
    # Held-out images are judged by their true labels, whatever those of the split are.
    noisy = split._replace(labels=np.where(np.arange(110) % 4 == 1, split.labels, 2))
    options = dict(num_classes=3, batch_size=32, mesh=mesh, true_labels=split.labels)
    assert make_validate(METRICS["knn"], encode, noisy, indices, **options)(frozen.variables) == expected
    assert encode._cache_size() == 1  # that of the features above
