"""Write the encoder of a run as a file that PyTorch, JAX and others read."""

from tcl_jax.encoder.exported import write_exported
from tcl_jax.encoder.from_run import read_trained
from tcl_jax.encoder.stablehlo import write_stablehlo
from tcl_jax.errors import UserError
from tcl_jax.models.description import EncoderDescription
from tcl_jax.models.layout import layout_of
from tcl_jax.parallel import make_mesh
from tcl_jax.run.workdir import Workdir

FORMATS = ("safetensors", "stablehlo")


def run(workdir: Workdir, *, checkpoint: str = "latest", format: str = "safetensors") -> None:
    """Write encoder.safetensors and, if there is a projection head, projection.safetensors into `workdir`.

    As "stablehlo": encoder.stablehlo, a program that JAX alone runs, and encoder.stablehlo.json, which describes it.

    The names, layout and values of a ResNet are torchvision's, those of a ViT or ConvNeXt timm's, those of another
    encoder Flax' own. The run may be in training meanwhile: its newest checkpoint is read, and nothing is changed. What
    was exported before is replaced.

    Args:
      checkpoint: "latest", or "best" by the metric of the held-out images.
      format: one of FORMATS.

    Raises:
      UserError: a folder without a run, no such checkpoint yet, no such format, or an encoder that does not fit it.
      RunFailed: its checkpoints cannot be read, or a file cannot be written.
    """
    if format not in FORMATS:
        raise UserError(f"--format is '{format}', expected one of {', '.join(FORMATS)}.")
    trained = read_trained(workdir, checkpoint=checkpoint, mesh=make_mesh(1))
    description = trained.description
    if format == "stablehlo":
        path = workdir.encoder.with_suffix(".stablehlo")
        with workdir.failures_reported():
            described = write_stablehlo(trained, path)
        print(
            f"The encoder of step {description.step}, a {description.model}, is a program for JAX in {path}"
        )
        print(f"What it takes and gives is in {described}")
        return
    with workdir.failures_reported():
        projection = write_exported(trained, workdir.encoder)
    print(f"The encoder of step {description.step}, a {description.model}, is in {workdir.encoder}")
    if projection is not None:
        print(f"Its projection head is in {projection}")
    print(how_to_load(description, str(workdir.encoder)))


def how_to_load(description: EncoderDescription, path: str) -> str:
    """Lines for a person who goes on in PyTorch."""
    package = layout_of(description.make_model(make_mesh(1)).encoder).package
    if package == "Flax":
        return (
            f"{description.model} is not one of torchvision's or timm's networks, so the file has the names and layout "
            "of Flax. In Python: tcl_jax.load_encoder(path), where its module can be imported."
        )
    if description.width != 64:
        return (
            f"Its width is {description.width}, and {package}'s networks have 64: in PyTorch its names and layout fit "
            "a network of that width. In Python: tcl_jax.load_encoder(path)."
        )
    if package == "timm":
        return (
            f"Its names and layout are those of timm's {description.model}: docs/encoders.md says how timm makes a "
            "network for images and patches of this size. In Python: tcl_jax.load_encoder(path)."
        )
    channels = description.image_shape[-1]
    lines = [f"model = torchvision.models.{description.model}()"]
    if description.stem == "cifar":
        lines += [
            f"model.conv1 = torch.nn.Conv2d({channels}, 64, 3, padding=1, bias=False)",
            "model.maxpool = torch.nn.Identity()",
        ]
    elif channels != 3:
        lines += [
            f"model.conv1 = torch.nn.Conv2d({channels}, 64, 7, stride=2, padding=3, bias=False)",
        ]
    lines += [
        "model.fc = torch.nn.Identity()",
        f'model.load_state_dict(safetensors.torch.load_file("{path}"))',
    ]
    return "\n".join(["In PyTorch:", *(f"    {line}" for line in lines)])
