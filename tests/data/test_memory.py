import pytest

from tcl_jax.data import load_dataset, memory
from tcl_jax.data.lazy import LazyImages
from tcl_jax.errors import UserError


@pytest.fixture
def free(monkeypatch):
    """Sets the free memory."""
    return lambda count: monkeypatch.setattr(memory, "free_memory", lambda: count)


def test_data_set_that_does_not_fit(write_images, free):
    folder = write_images()  # 30 images of 6x5x3
    free(3374)  # 80 % of it are 2699 bytes
    with pytest.raises(UserError) as error:
        load_dataset("tiny_images", data_dir=folder, streaming="no")
    assert str(error.value) == (
        "The data set 'tiny_images' takes 0.0027 MB in memory (30 images of 6x5x3 bytes), expected at most "
        "0.0027 MB, which is 80 % of what is free: leave it on disk with data.streaming=auto, or give a smaller "
        "data.image_size."
    )
    free(3375)
    assert len(load_dataset("tiny_images", data_dir=folder, streaming="no").train.images) == 20


def test_what_does_not_fit_stays_on_disk_unless_told_otherwise(write_images, free):
    folder = write_images()

    def is_lazy(**options):
        return isinstance(load_dataset("tiny_images", data_dir=folder, **options).train.images, LazyImages)

    free(3374)
    assert is_lazy()
    free(3375)
    assert not is_lazy()
    assert is_lazy(streaming="yes")
    with pytest.raises(UserError, match=r"data.streaming is 'maybe', expected one of auto, yes, no\."):
        is_lazy(streaming="maybe")


def test_size_that_counts_is_that_after_scaling(write_images, free):
    folder = write_images()
    free(30 * 4 * 4 * 3 / 0.8)
    assert load_dataset("tiny_images", data_dir=folder, image_size=4).train.images.shape == (20, 4, 4, 3)
    with pytest.raises(UserError, match="30 images of 5x5x3 bytes"):
        load_dataset("tiny_images", data_dir=folder, image_size=5, streaming="no")


def test_large_numbers_are_told_in_gigabytes(free):
    free(16 * 10**9)
    with pytest.raises(UserError, match=r"takes 19\.8 GB .*131,689 images.* at most 12\.8 GB"):
        memory.stays_on_disk("imagenet100", 131_689, (224, 224, 3), streaming="no")


def test_free_memory_is_what_linux_or_the_container_leaves(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_CGROUP_LIMIT", tmp_path / "memory.max")
    physical = memory.free_memory()
    assert physical > 2**20
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "meminfo").write_text("MemTotal:  900 kB\nMemAvailable:   500 kB\n")
    assert memory.free_memory() == 500 * 1024
    (tmp_path / "memory.max").write_text("1000\n")
    assert memory.free_memory() == 1000
