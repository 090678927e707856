"""The encoder that `model.init_from` names: of a run, of an exported file, or torchvision's."""

import jax
from jax.sharding import Mesh

from tcl_jax.encoder import weights
from tcl_jax.encoder.exported import described
from tcl_jax.encoder.from_run import read_trained
from tcl_jax.errors import RunFailed, UserError
from tcl_jax.files import full_path, readable, utf8_path
from tcl_jax.models.initial_encoder import InitialEncoder
from tcl_jax.models.layout import encoder_tensors, layout_of, of_encoder
from tcl_jax.models.tensor_file import SUFFIX, read_tensors
from tcl_jax.run.workdir import Workdir


def read_initial(init_from: str, mesh: Mesh) -> InitialEncoder:
    """The encoder at `init_from`, that of a run from its latest checkpoint: the weights that evaluation takes.

    Args:
      init_from: the workdir of a run, which may be in training and is not touched; a file; or the name of an encoder
        that comes with the package.

    Raises:
      UserError: there is neither, the run has no checkpoint yet, or the file is of another format.
      RunFailed: the checkpoints of the run cannot be read.
    """
    path = full_path(weights.path_of(init_from), "model.init_from")
    if path.suffix == SUFFIX or path.is_file():
        tensors, metadata = read_tensors(path)
        description = described(metadata, path) if "format_version" in metadata else None
        return InitialEncoder(readable(path), tensors, description)
    workdir = Workdir(str(utf8_path(path, "model.init_from")))
    if not workdir.config.exists():
        raise UserError(
            f"model.init_from is {readable(init_from)}, which does not hold a run (no config.json in "
            f"{readable(path)}): train that run first, or give the workdir of another, a {SUFFIX} file or one of "
            f"{', '.join(weights.known())}."
        )
    try:
        trained = read_trained(workdir, checkpoint="latest", mesh=mesh)
    except (UserError, RunFailed) as error:
        raise type(error)(f"Of model.init_from: {error}") from error
    encoder, layout = of_encoder(jax.device_get(trained.variables)), layout_of(trained.model.encoder)
    tensors = encoder_tensors(encoder, layout, num_batches=trained.description.step)
    return InitialEncoder(readable(path), tensors, trained.description)
