"""The accuracy of each class on the page of a run."""

import numpy as np
from sklearn.metrics import recall_score

from tcl_jax.report.page_classes import accuracy_by_class


def case(classes, images=400, seed=0):
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, images)
    predictions = {
        "linear_probe": np.where(random.random(images) < 0.8, labels, random.integers(0, classes, images)),
        "knn": np.where(random.random(images) < 0.5, labels, random.integers(0, classes, images)),
    }
    return labels, predictions, [f"class {label}" for label in range(classes)]


def test_each_class_has_the_recall_of_scikit_learn():
    labels, predictions, names = case(7)
    labels[labels == 3] = 4  # a class without test images has no row
    found = accuracy_by_class(labels, predictions, names)
    (table,) = found.shown
    assert found.folded is None
    assert found.heads == ["class", "test images", "linear probe", "kNN"]
    present = np.unique(labels)
    recalls = [recall_score(labels, p, labels=present, average=None) for p in predictions.values()]
    *rows, average = table.rows
    for row, label, *of_class in zip(rows, present, *recalls, strict=True):
        assert row == [names[label], str(np.sum(labels == label)), *(f"{x:.4f}" for x in of_class)]
    assert average == ["mean of the classes", "400", *(f"{np.mean(x):.4f}" for x in recalls)]


def test_of_many_classes_the_lowest_and_the_highest_are_shown():
    labels, predictions, names = case(200, images=6000)
    found = accuracy_by_class(labels, predictions, names)
    recalls = recall_score(labels, predictions["linear_probe"], average=None)
    lowest, highest = ([float(row[2]) for row in table.rows] for table in found.shown)
    np.testing.assert_allclose(lowest[:-1], np.sort(recalls)[:10], atol=1e-4)
    np.testing.assert_allclose(highest, np.sort(recalls)[::-1][:3], atol=1e-4)
    assert [row[0] for row in found.folded.rows] == [*names, "mean of the classes"]
    assert found.shown[0].caption == "The 10 classes of lowest accuracy by linear probe"


def test_without_predicted_classes_there_is_nothing_to_show():
    assert accuracy_by_class(np.zeros(3, int), {}, ["a"]) is None
