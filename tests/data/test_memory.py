import pytest

from tcl_jax.data import load_dataset, memory
from tcl_jax.errors import UserError


@pytest.fixture
def free(monkeypatch):
    """Sets the free memory."""
    return lambda count: monkeypatch.setattr(memory, "free_memory", lambda: count)


def test_data_set_that_does_not_fit(write_images, free):
    folder = write_images()  # 30 images of 6x5x3
    free(3374)  # 80 % of it are 2699 bytes
    with pytest.raises(UserError) as error:
        load_dataset("tiny_images", data_dir=folder)
    assert str(error.value) == (
        "The data set 'tiny_images' takes 0.0027 MB in memory (30 images of 6x5x3 bytes), expected at most "
        "0.0027 MB, which is 80 % of what is free: give a smaller data.image_size, a part of it such as "
        "data.train_split='train[:10%]', or take a machine with more memory."
    )
    free(3375)
    assert len(load_dataset("tiny_images", data_dir=folder).train.images) == 20


def test_size_that_counts_is_that_after_scaling(write_images, free):
    folder = write_images()
    free(30 * 4 * 4 * 3 / 0.8)
    assert load_dataset("tiny_images", data_dir=folder, image_size=4).train.images.shape == (20, 4, 4, 3)
    with pytest.raises(UserError, match="30 images of 5x5x3 bytes"):
        load_dataset("tiny_images", data_dir=folder, image_size=5)


def test_large_numbers_are_told_in_gigabytes(free):
    free(16 * 10**9)
    with pytest.raises(UserError, match=r"takes 19\.8 GB .*131,689 images.* at most 12\.8 GB"):
        memory.require_memory("imagenet100", 131_689, (224, 224, 3))


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
