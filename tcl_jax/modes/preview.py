"""A picture of what the network will see: training images and views of them. Nothing is trained."""

import io
from typing import Any

from tcl_jax.errors import UserError
from tcl_jax.experiment.build import build_experiment
from tcl_jax.experiment.shown_views import shown_views
from tcl_jax.report.contact_sheet import contact_sheet
from tcl_jax.run.workdir import Workdir

_ROWS = 10  # images
_EPOCHS = 4  # views of each image by each policy: those of the first epochs


def run(config: Any, workdir: Workdir, config_name: str) -> None:
    """Write preview.png into `workdir`, and nothing else; whether it holds a run, and which, does not matter.

    Raises:
      UserError: the config or the data cannot be used, or the picture cannot be written.
    """
    experiment = build_experiment(config)
    dataset = experiment.dataset
    height, width, channels = dataset.train.images.shape[1:]
    columns, names = shown_views(experiment, images=_ROWS, epochs=_EPOCHS)
    sheet = contact_sheet(
        f"{config_name}: {dataset.name}, {height}x{width}x{channels}, seed {experiment.seed}", columns, names
    )
    encoded = io.BytesIO()
    sheet.save(encoded, "PNG")
    path = workdir.path / "preview.png"
    try:
        workdir.path.mkdir(parents=True, exist_ok=True)
        partial = path.parent / f"{path.name}.partial"
        partial.write_bytes(encoded.getvalue())
        partial.replace(path)  # at one stroke, so that a viewer never sees half of it
    except OSError as error:
        raise UserError(
            f"The picture {path} cannot be written ({error.strerror}): give another folder with --workdir."
        ) from error
    print(f"{len(names)} training images of {dataset.name} and their views are in {path}")
