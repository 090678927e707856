"""A picture of what the network will see: training images and views of them. Nothing is trained."""

import io

from ml_collections import ConfigDict

from tcl_jax.errors import UserError, WriteFailed
from tcl_jax.experiment.build import build_experiment
from tcl_jax.experiment.page import shown_views
from tcl_jax.files import write_whole_bytes, writing
from tcl_jax.report.contact_sheet import contact_sheet
from tcl_jax.run.workdir import Workdir

_ROWS = 10  # images
_EPOCHS = 4  # views of each image by each policy: those of the first epochs


def run(config: ConfigDict, workdir: Workdir, config_name: str) -> None:
    """Write preview.png into `workdir`, and nothing else; whether it holds a run, and which, does not matter.

    Raises:
      UserError: the config or the data cannot be used, or the picture cannot be written.
    """
    experiment = build_experiment(config)
    dataset = experiment.dataset
    height, width, channels = experiment.facts.image_shape
    columns, names = shown_views(experiment, images=_ROWS, epochs=_EPOCHS)
    sheet = contact_sheet(
        f"{config_name}: {dataset.name}, {height}x{width}x{channels}, seed {config.seed}", columns, names
    )
    encoded = io.BytesIO()
    sheet.save(encoded, "PNG")
    path = workdir.path / "preview.png"
    try:
        with writing(str(path)):
            workdir.path.mkdir(parents=True, exist_ok=True)
        write_whole_bytes(path, encoded.getvalue())
    except WriteFailed as error:
        raise UserError(
            f"The picture {path} cannot be written ({error.cause}): give another folder with --workdir."
        ) from error
    print(f"{len(names)} training images of {dataset.name} and their views are in {path}")
