"""The encoder of a run, from its description and a checkpoint; neither its data nor its config are needed."""

from jax.sharding import Mesh

from tcl_jax.encoder.trained_encoder import TrainedEncoder
from tcl_jax.errors import UserError
from tcl_jax.models import model_shapes, params_sha256
from tcl_jax.models.description import EncoderDescription
from tcl_jax.run.stored import read_best, read_latest
from tcl_jax.run.workdir import Workdir

CHECKPOINTS = ("latest", "best")


def read_trained(workdir: Workdir, *, checkpoint: str, mesh: Mesh) -> TrainedEncoder:
    """The encoder in a checkpoint of a run, on the devices of `mesh`; the run may be in training, and is not touched.

    Args:
      checkpoint: "latest" or "best".

    Raises:
      UserError: a folder without a run, no such checkpoint, or a run of another version.
      RunFailed: its checkpoints cannot be read.
    """
    if checkpoint not in CHECKPOINTS:
        raise UserError(f"checkpoint is {checkpoint!r}, expected one of {', '.join(CHECKPOINTS)}.")
    try:
        description = EncoderDescription.from_json(workdir.read_description())
    except TypeError as error:
        raise UserError(
            f"The run in {workdir.path} was made by another version of tcl_jax ({error}): use that version."
        ) from error
    model = description.make_model(mesh)
    shapes = model_shapes(model, description.image_shape)
    # The average of a model without BatchNorm holds empty statistics, too.
    average = {"average": {"batch_stats": {}, **shapes}} if description.weights == "average" else {}
    read = (read_best if checkpoint == "best" else read_latest)(
        workdir.checkpoints, {"model": {**shapes, **average}}, mesh
    )
    if read is None:
        raise UserError(
            f"The run in {workdir.path} has no checkpoint yet: train it first."
            if checkpoint == "latest"
            else f"The run in {workdir.path} has no best checkpoint, as none was made at the end of an epoch with "
            "validation.images above 0: take the latest."
        )
    stored = read.items["model"]
    variables = {kind: stored[kind] for kind in shapes}
    description = description._replace(
        checkpoint=checkpoint, step=read.step, params_sha256=params_sha256(variables)
    )
    evaluated = stored.get("average", variables)
    return TrainedEncoder(model, {kind: evaluated[kind] for kind in shapes}, description)
