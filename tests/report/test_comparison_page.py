"""The page that compares runs: its metrics, its pictures, and texts that cannot become markup."""

import pytest

from tcl_jax.report.comparison import group_runs, to_rows
from tcl_jax.report.comparison_page import comparison_files
from tests.report.pages import EVIL, Page
from tests.report.pages import compared as run


def files(runs, failures=None):
    return comparison_files("Runs", group_runs(runs), failures=failures or {}, again=f"compare '{EVIL}'")


def curve(seed, steps=4):
    loss = [{"step": s, "epoch": s - 1, "loss": 5.0 - s + seed} for s in range(1, steps + 1)]
    return [*loss, {"step": steps, "epoch": steps - 1, "validation_knn": 0.5, "validation_silhouette": 0.1}]


@pytest.fixture(scope="module")
def made():
    runs = [
        run(
            f"{k1} {seed}", knn=k1 / 100, seed=seed, records=curve(seed), **{"loss.k1": k1, "data.name": EVIL}
        )
        for k1 in (10.0, 20.0)
        for seed in (0, 1)
    ]
    return files(runs, failures={EVIL: f"not finite {EVIL}"})


def test_the_page_is_whole_and_users_texts_are_texts(made):
    page = Page(made["index.html"].decode())
    assert page.text.count(EVIL) >= 3  # the command, the failed run and why it failed
    assert len(page.all("svg")) == 5  # a heat map of each metric, the loss, two metrics of held-out images
    for caption in ("kNN of held-out images", "Silhouette of held-out images", "Training loss"):
        assert f"{caption} in each epoch." in page.text
    assert set(made) == {"index.html", "comparison.csv", "comparison.md"}


def test_the_page_has_the_numbers_of_the_tables(made):
    page = Page(made["index.html"].decode())
    runs = [run(f"{k1} {s}", knn=k1 / 100, seed=s, **{"loss.k1": k1}) for k1 in (10.0, 20.0) for s in (0, 1)]
    heads, rows = to_rows(group_runs(runs))
    for text in [*heads, *(cell for row in rows for cell in row)]:
        assert text in page.text


def test_losses_of_different_objectives_are_said_not_to_compare():
    tcl, supcon = (run(name, **{"loss.name": name}) for name in ("tcl", "supcon"))
    sentence = "objectives cannot be compared"
    assert sentence in Page(files([tcl, supcon])["index.html"].decode()).text
    alone = Page(files([tcl])["index.html"].decode()).text
    assert sentence not in alone
    assert "deviation" not in alone


def test_a_page_without_any_results_says_what_failed():
    made = files([], failures={"k1=1": "The loss is nan"})
    assert list(made) == ["index.html"]
    assert "The loss is nan" in Page(made["index.html"].decode()).text
