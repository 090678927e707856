"""The encoder of a run, from its description and a checkpoint; neither its data nor its config are needed."""

from jax.sharding import Mesh

from tcl_jax.encoder.trained import Trained
from tcl_jax.errors import UserError
from tcl_jax.models import model_shapes, params_sha256
from tcl_jax.models.description import EncoderDescription
from tcl_jax.run.stored import read_best, read_latest
from tcl_jax.run.workdir import Workdir

CHECKPOINTS = ("latest", "best")


def read_trained(workdir: Workdir, *, checkpoint: str, mesh: Mesh) -> Trained:
    """The encoder in a checkpoint of a run, on the devices of `mesh`; the run may be in training, and is not touched.

    Args:
      checkpoint: "latest" or "best".

    Raises:
      UserError: there is no run, no such checkpoint, or a run of another version.
      RunFailed: its checkpoints cannot be read.
    """
    if checkpoint not in CHECKPOINTS:
        raise UserError(f"There is no checkpoint {checkpoint!r}, expected one of {', '.join(CHECKPOINTS)}.")
    try:
        about = EncoderDescription.from_json(workdir.read_description())
    except TypeError as error:
        raise UserError(
            f"The run in {workdir.path} was made by another version of tcl_jax ({error}): use that version."
        ) from error
    model = about.make_model(mesh)
    shapes = model_shapes(model, about.image_shape)
    # The average of a model without BatchNorm holds empty statistics, too.
    average = {"average": {"batch_stats": {}, **shapes}} if about.weights == "average" else {}
    read = (read_best if checkpoint == "best" else read_latest)(
        workdir.checkpoints, {"model": {**shapes, **average}}, mesh
    )
    if read is None:
        raise UserError(
            f"There is no checkpoint in {workdir.checkpoints} yet: train the run first."
            if checkpoint == "latest"
            else f"There is no best checkpoint in {workdir.checkpoints}, as none was made at the end of an epoch with "
            "validation.images above 0: take the latest."
        )
    stored = read.items["model"]
    variables = {kind: stored[kind] for kind in shapes}
    about = about._replace(checkpoint=checkpoint, step=read.step, params_sha256=params_sha256(variables))
    evaluated = stored.get("average", variables)
    return Trained(model, {kind: evaluated[kind] for kind in shapes}, about)
