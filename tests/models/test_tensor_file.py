"""Files of tensors: other files are refused, and no pickle is ever loaded."""

import io
import pickle
import zipfile

import numpy as np
import pytest
from etils import epath

from tcl_jax.errors import UserError
from tcl_jax.models.tensor_file import read_tensors, write_tensors


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def in_zip(data):
    """As torch.save writes it since version 1.6."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", data)
    return file.getvalue()


@pytest.mark.parametrize("name", ["weights.pth", "weights.pt", "weights.safetensors"])
@pytest.mark.parametrize("pack", [bytes, in_zip])
def test_a_pickle_is_refused_and_never_loaded(tmp_path, name, pack):
    path, sprung = epath.Path(tmp_path / name), tmp_path / "sprung"
    path.write_bytes(pack(pickle.dumps(Trap(sprung), protocol=2)))
    with pytest.raises(UserError, match=r"pickles, which are never loaded.*safetensors.torch.save_file\("):
        read_tensors(path)
    assert not sprung.exists()
    pickle.loads(pickle.dumps(Trap(sprung), protocol=2)).close()  # the trap works
    assert sprung.exists()


def test_what_is_written_is_read_and_replaces_what_was_there(tmp_path):
    path = epath.Path(tmp_path / "a.safetensors")
    write_tensors(path, {"old": np.zeros(3)}, {})
    tensors = {"x": np.arange(6, dtype=np.float32).reshape(2, 3), "n": np.array(3, np.int64)}
    write_tensors(path, tensors, {"what": "of 3 € [1, 2]"})
    found, metadata = read_tensors(path)
    assert metadata == {"what": "of 3 € [1, 2]"}
    assert found.keys() == tensors.keys()
    for name, array in tensors.items():
        np.testing.assert_array_equal(found[name], array, strict=True)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.safetensors"]


def test_metadata_may_be_missing(tmp_path):
    path = epath.Path(tmp_path / "a.safetensors")
    write_tensors(path, {"x": np.zeros(3)}, {})
    assert read_tensors(path).metadata == {}


def test_other_files_are_refused(tmp_path):
    path = epath.Path(tmp_path / "a.safetensors")
    with pytest.raises(UserError, match=r"a.safetensors cannot be read \(No such file or directory\): give"):
        read_tensors(path)
    write_tensors(path, {"x": np.zeros(30)}, {})
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(UserError, match=r"is not a .safetensors file of float32 tensors, or damaged"):
        read_tensors(path)
    path.write_bytes(b"")
    with pytest.raises(UserError, match="or damaged"):
        read_tensors(path)
