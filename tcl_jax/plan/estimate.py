"""What a run would need, from its compiled step: nothing is trained, no image is read."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from ml_collections import ConfigDict

from tcl_jax.data import Batch, DatasetFacts
from tcl_jax.errors import UserError
from tcl_jax.experiment.data import load_facts
from tcl_jax.experiment.parts import make_parts
from tcl_jax.experiment.program import Facts, make_program, make_settings
from tcl_jax.models.description import encoder_dtype
from tcl_jax.parallel import DATA_AXIS
from tcl_jax.plan.costs import collectives, product_flops
from tcl_jax.plan.devices import Accelerator, find_accelerator


class PlannedRun(NamedTuple):
    """What a plan needs of the run that a config describes.

    Attributes:
      dataset, data: name, and what is known of the training split.
      model: encoder and head, a Flax module.
      step: the compiled step's function, as `tcl_jax.train.loop` calls it.
      state: shapes and dtypes of the `TrainState`.
      hyper: values of the `Hyper`.
      batch_size, num_views, micro_batches, num_steps: as the run has them.
      recomputed: forward passes of a step that are taken again to save memory.
      queue_size: rows of past batches, which the loss compares with those of the batch.
      momentum_encoder: whether they are of a second forward pass.
      compute_dtype: the encoder's; None is that of the parameters.
      head: "projection" where the loss compares pairs of rows, "classifier" where it does not.
    """

    dataset: str
    data: DatasetFacts
    model: Any
    step: Any
    state: Any
    hyper: Any
    batch_size: int
    num_views: int
    micro_batches: int
    num_steps: int
    recomputed: int
    queue_size: int
    momentum_encoder: bool
    compute_dtype: Any
    head: str


def planned_run(config: ConfigDict, mesh: Mesh) -> PlannedRun:
    """The run of a config on the devices of `mesh`; all that a plan reads of the config and of its experiment.

    Raises:
      UserError: a field with a value that cannot be used, or data of which too little is known.
    """
    parts = make_parts(config, mesh)
    data = load_facts(config)
    # Which values normalise the pixels makes no difference to the cost.
    constant = (0.5,) * data.image_shape[-1]
    facts = Facts(data.image_shape, data.num_classes, data.num_images, mean=constant, std=constant)
    program = make_program(config, parts, facts)
    schedule = program.schedule
    return PlannedRun(
        dataset=config.data.name,
        data=data,
        model=program.model,
        step=program.step,
        state=program.state_shapes(),
        hyper=make_settings(config, facts, schedule).hyper,
        batch_size=schedule.batch_size,
        num_views=schedule.num_views,
        micro_batches=schedule.micro_batches,
        num_steps=schedule.steps,
        recomputed=bool(config.model.remat) + (schedule.micro_batches > 1),
        queue_size=program.queue_size,
        momentum_encoder=program.momentum_encoder > 0,
        compute_dtype=encoder_dtype(config.model.name, config.train.precision, mesh),
        head=parts.objective.head,
    )


def make_plan(config: ConfigDict, mesh: Mesh, *, peak_share: float) -> dict[str, Any]:
    """The content of plan.json: the needs of training on the devices of `mesh`, which need not be present.

    Bytes and FLOPs are of one device unless they say otherwise.

    Args:
      peak_share: of the devices' peak FLOP/s that a step is taken to reach, above 0 and at most 1.

    Raises:
      UserError: a field with a value that cannot be used, data of which too little is known, or a step that the
        compiler finds too large for the memory of a device.
    """
    run = planned_run(config, mesh)
    compiled = _compile(run, mesh)
    device = mesh.devices.flat[0]
    accelerator = find_accelerator(device.device_kind)
    rows = run.batch_size * run.num_views
    network, loss = _flops(run)
    seconds = None
    if accelerator is not None:
        network_peak = accelerator.bfloat16 if run.compute_dtype == jnp.bfloat16 else accelerator.float32
        # The losses always compute in full precision.
        seconds = (network / network_peak + loss / accelerator.float32) / mesh.size / peak_share
    hlo = compiled.as_text()
    return {
        "dataset": run.dataset,
        "num_images": run.data.num_images,
        "num_images_from": run.data.source,
        "devices": {"platform": device.platform, "kind": device.device_kind, "count": mesh.size},
        "batch_size": run.batch_size,
        "rows": rows,
        "queue_size": run.queue_size,
        "steps": run.num_steps,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(run.state.params)),
        "parameter_bytes": _bytes(run.state.params),
        "optimizer_bytes": _bytes(run.state.opt_state),
        "state_bytes": _bytes(run.state),
        "flops": {
            "network_whole": network,
            "loss_whole": loss,
            "formula": (network + loss) / mesh.size,
            # XLA's own count, of everything and not of products alone; the body of a loop counts once.
            "compiled": (compiled.cost_analysis() or {}).get("flops"),
        },
        "memory": _memory(compiled, device, accelerator),
        "collectives": {
            "compiled": {kind: traffic._asdict() for kind, traffic in collectives(hlo).items()},
            "with_diagnostics": {
                kind: traffic._asdict() for kind, traffic in collectives(hlo, costliest=True).items()
            },
        },
        "peak_share": peak_share,
        "step_seconds": seconds,
        "views_per_second": seconds and rows / seconds,
        "training_hours": seconds and seconds * run.num_steps / 3600,
    }


def _compile(run: PlannedRun, mesh: Mesh) -> Any:
    """The step as `tcl_jax.train.loop` calls it, compiled from shapes alone."""

    def shaped(tree: Any, spec: P) -> Any:
        sharding = NamedSharding(mesh, spec)
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)

    array: Any = jax.ShapeDtypeStruct
    batch = Batch(
        images=array((run.batch_size, *run.data.image_shape), np.uint8),
        labels=array((run.batch_size,), np.int32),
        indices=array((run.batch_size,), np.int32),
        weights=array((run.batch_size,), np.float32),
    )
    hyper = jax.tree.map(np.asarray, run.hyper)
    lowered = run.step.lower(shaped(run.state, P()), shaped(batch, P(DATA_AXIS)), shaped(hyper, P()))
    try:
        return lowered.compile()
    except Exception as error:  # JAX's own types, which are not the same in every version
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        reason = str(error).splitlines()[0].removeprefix("RESOURCE_EXHAUSTED: ").rstrip(".")
        raise UserError(
            f"A step with train.batch_size {run.batch_size} does not fit in the memory of {mesh.size} x "
            f"{mesh.devices.flat[0].device_kind} ({reason}): give a smaller one, set train.micro_batch_size or "
            "model.remat, or plan for more devices."
        ) from error


def _flops(run: PlannedRun) -> tuple[int, int]:
    """FLOPs of the products of a step over all devices, of the network and of the loss.

    The network's are three times those of the forward pass, as the gradients by weights and by activations take as many
    each, and once more for each forward pass that is taken again and for that of a momentum encoder. A loss of pairs
    takes 6 n (n + m) d for n rows of d numbers and m of a queue: it visits their pairs for the similarities, again in
    the backward pass, and for the gradient. (On one device with several tiles less, as each tile of similarities serves
    two.)
    """

    def forward(variables: Any, image: jax.Array) -> jax.Array:
        return run.model.apply(variables, image, train=False)

    arguments = run.state.variables, jax.ShapeDtypeStruct((1, *run.data.image_shape), np.float32)
    rows = run.batch_size * run.num_views
    network = (3 + run.recomputed + run.momentum_encoder) * rows * product_flops(forward, *arguments)
    if run.head == "classifier":
        return network, 0
    return network, 6 * rows * (rows + run.queue_size) * jax.eval_shape(forward, *arguments).shape[-1]


def _memory(compiled: Any, device: jax.Device, accelerator: Accelerator | None) -> dict[str, int | None]:
    """Bytes while the step runs, and what the device has."""
    found = compiled.memory_analysis()
    present = device in jax.devices()
    stats = (device.memory_stats() if present else None) or {}
    parts = {
        "arguments": found.argument_size_in_bytes,
        "outputs": found.output_size_in_bytes,
        "aliased": found.alias_size_in_bytes,
        "temporaries": found.temp_size_in_bytes,
        "program": found.generated_code_size_in_bytes,
    }
    total = sum(parts.values()) - 2 * parts["aliased"]  # outputs that lie where arguments were
    return {
        **parts,
        "total": total,
        "device": stats.get("bytes_limit") or (accelerator and accelerator.memory),
    }


def _bytes(tree: Any) -> int:
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
