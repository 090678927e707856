"""What a run would need, from the compiled step: nothing is trained, no image is read."""

import json
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from ml_collections import ConfigDict

from tcl_jax.data import Batch, dataset_facts
from tcl_jax.errors import UserError
from tcl_jax.experiment.build import Facts
from tcl_jax.files import write_whole
from tcl_jax.losses.contrastive import best_block_size
from tcl_jax.losses.tiles import make_layout
from tcl_jax.parallel import DATA_AXIS, make_mesh
from tcl_jax.plan.accelerators import find_accelerator
from tcl_jax.plan.costs import collectives, product_flops
from tcl_jax.plan.table import format_plan
from tcl_jax.plan.topology import topology_mesh
from tcl_jax.run.workdir import Workdir


def run(
    config: ConfigDict,
    workdir: Workdir | None,
    config_name: str,
    *,
    topology: str = "",
    peak_share: float = 0.4,
) -> None:
    """Print what a run needs, and write plan.json where there is a `workdir`, and nothing else.

    Args:
      topology: of TPUs that need not be there, as "v5e:2x4"; "" plans for the devices present.
      peak_share: of the devices' peak FLOP/s that a step is taken to reach, above 0 and at most 1.

    Raises:
      UserError: the config cannot be used, the topology cannot be compiled for, or the file cannot be written.
    """
    if not 0 < peak_share <= 1:
        raise UserError(f"--plan_peak_share is {peak_share}, expected a number above 0 and at most 1.")
    mesh = topology_mesh(topology) if topology else make_mesh()
    plan = {"config_name": config_name, **make_plan(config, mesh, peak_share=peak_share)}
    print(format_plan(plan))
    if workdir is None:
        return
    try:
        workdir.path.mkdir(parents=True, exist_ok=True)
        write_whole(workdir.path / "plan.json", json.dumps(plan, indent=2) + "\n")
    except OSError as error:
        raise UserError(
            f"The plan cannot be written to {workdir.path} ({error.strerror}): give another folder with --workdir."
        ) from error


def make_plan(config: ConfigDict, mesh: Mesh, *, peak_share: float) -> dict[str, Any]:
    """The figures of plan.json for training on the devices of `mesh`, which need not be there.

    Bytes and FLOPs are of one device unless they say otherwise.

    Raises:
      UserError: a field with a value that cannot be, data of which too little is known, or a step that the compiler
        finds too large for the memory of a device.
    """
    check_config(config, mesh)
    data = dataset_facts(
        config.data.name,
        data_dir=config.data.data_dir,
        train_split=config.data.train_split,
        image_size=config.data.image_size,
    )
    # Which values normalise the pixels makes no difference to the cost.
    constant = (0.5,) * data.image_shape[-1]
    facts = Facts(data.image_shape, data.num_classes, data.num_images, mean=constant, std=constant)
    training = build_training(config, facts, mesh)
    state = jax.eval_shape(training.initial_state)
    compiled = _compile(training, state, facts, mesh)

    rows = training.course.batch_size * training.course.num_views
    accelerator = find_accelerator(mesh.devices.flat[0].device_kind)
    flops = _flops(config, training, state, facts, rows)
    steps = len(training.course.learning_rates)
    seconds = None
    if accelerator is not None:
        narrow = training.model.encoder.dtype == jnp.bfloat16
        network_peak = accelerator.bfloat16 if narrow else accelerator.float32
        # The losses compute in full precision always.
        least = flops["network"] / network_peak + flops["loss"] / accelerator.float32
        seconds = least / mesh.size / peak_share
    return {
        "dataset": config.data.name,
        "num_images": data.num_images,
        "num_images_from": data.source,
        "devices": {
            "platform": mesh.devices.flat[0].platform,
            "kind": mesh.devices.flat[0].device_kind,
            "count": mesh.size,
        },
        "batch_size": training.course.batch_size,
        "rows": rows,
        "steps": steps,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(state.params)),
        "parameter_bytes": _bytes(state.params),
        "optimizer_bytes": _bytes(state.opt_state),
        "state_bytes": _bytes(state),
        "flops": {
            **{f"{part}_whole": number for part, number in flops.items()},
            "formula": sum(flops.values()) / mesh.size,
            "compiled": _compiled_flops(compiled),
        },
        "memory": _memory(compiled, mesh),
        "collectives": _collectives(config, training, state, compiled, mesh),
        "peak_share": peak_share,
        "step_seconds": seconds,
        "views_per_second": seconds and rows / seconds,
        "training_hours": seconds and seconds * steps / 3600,
    }


def _compile(training: Any, state: Any, facts: Facts, mesh: Mesh) -> Any:
    """The step as `tcl_jax.train.loop` calls it, compiled from shapes alone."""

    def shaped(tree: Any, spec: P) -> Any:
        sharding = NamedSharding(mesh, spec)
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)

    size = training.course.batch_size
    array: Any = jax.ShapeDtypeStruct
    batch = Batch(
        images=array((size, *facts.image_shape), np.uint8),
        labels=array((size,), np.int32),
        indices=array((size,), np.int32),
        weights=array((size,), np.float32),
    )
    hyper = jax.tree.map(np.asarray, training.hyper)
    step: Any = training.step
    lowered = step.lower(shaped(state, P()), shaped(batch, P(DATA_AXIS)), shaped(hyper, P()))
    try:
        return lowered.compile()
    except Exception as error:  # JAX's own types, which are not the same in every version
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        reason = str(error).splitlines()[0].removeprefix("RESOURCE_EXHAUSTED: ").rstrip(".")
        raise UserError(
            f"A step with train.batch_size {size} does not fit in the memory of {mesh.size} x "
            f"{mesh.devices.flat[0].device_kind} ({reason}): give a smaller one, set train.micro_batch_size or "
            "model.remat, or plan for more devices."
        ) from error


def _flops(config: ConfigDict, training: Any, state: Any, facts: Facts, rows: int) -> dict[str, int]:
    """FLOPs of the products of a step, over all devices, by formula.

    The network's are three times those of the forward pass: the gradients by weights and by activations take as many
    each. Passes that are taken again for want of memory come on top. The loss visits n^2 pairs of d numbers for the
    similarities, again in the backward pass, and for the gradient. (On one device with several tiles less, as each
    tile of similarities serves two.)
    """
    image = jax.ShapeDtypeStruct((1, *facts.image_shape), np.float32)
    forward = product_flops(
        lambda variables, image: training.model.apply(variables, image, train=False), state.variables, image
    )
    passes = 3 + _recomputed(config, training)
    contrastive = config.loss.name != "cross_entropy"
    loss = 6 * rows**2 * config.model.projection_dim if contrastive else 0
    return {"network": passes * rows * forward, "loss": loss}


def _recomputed(config: ConfigDict, training: Any) -> int:
    """Forward passes that are taken again to compute the gradient."""
    return bool(config.model.remat) + (training.course.micro_batches > 1)


def _compiled_flops(compiled: Any) -> float | None:
    """XLA's own count, of everything and not of products alone; the body of a loop counts once."""
    found = compiled.cost_analysis()
    return found.get("flops") if found else None


def _memory(compiled: Any, mesh: Mesh) -> dict[str, int | None]:
    """Bytes while the step runs, and what the device has."""
    found = compiled.memory_analysis()
    device = mesh.devices.flat[0]
    present = device in jax.devices()
    stats = (device.memory_stats() if present else None) or {}
    accelerator = find_accelerator(device.device_kind)
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


def _collectives(config: ConfigDict, training: Any, state: Any, compiled: Any, mesh: Mesh) -> dict[str, Any]:
    """Bytes of the results on each device, by kind: in the compiled program, and by formula."""
    found = collectives(compiled.as_text())
    return {
        "compiled": {kind: traffic._asdict() for kind, traffic in found.always.items()},
        "with_diagnostics": {kind: traffic._asdict() for kind, traffic in found.at_most.items()},
        "formula": expected_collectives(config, training, state, mesh),
    }


def expected_collectives(
    config: ConfigDict, training: Any, state: Any, mesh: Mesh
) -> dict[str, dict[str, int]]:
    """Bytes of the results of a step's collectives on each device, by kind and purpose; none on one device.

    Gathered are, for the loss, of every row the d numbers of the projection, its label, its number and whether it
    is live; and for the gradient, seven numbers that each row's statistics come down to. Summed are the gradient, the
    loss and its weight, and the mean and variance of each BatchNorm, forward and backward; where a pass is taken again,
    so are they.
    """
    if mesh.size == 1:
        return {}
    on_cpu = mesh.devices.flat[0].platform == "cpu"
    sums = {"gradient": _gradient_bytes(training, state, widened=on_cpu)}
    statistics = _bytes(state.batch_stats)
    if config.model.sync_batch_norm:
        parts = training.course.micro_batches
        # In a loop, what the means get from the variances and from the outputs is not added before it is summed.
        apart = statistics // 2 if parts > 1 else 0
        sums["BatchNorm"] = parts * ((2 + _recomputed(config, training)) * statistics + apart)
    else:
        sums["running statistics"] = statistics
    if config.loss.name == "cross_entropy":
        return {"all-reduce": {**sums, "loss": 4}}
    rows = training.course.batch_size * training.course.num_views // mesh.size
    layout = make_layout(rows, mesh.size, best_block_size(mesh.devices.flat[0].platform))
    return {
        "all-gather": {
            "projections": layout.columns * config.model.projection_dim * 4,
            "labels, row numbers, live rows": layout.columns * (4 + 4 + 1),
            "gradient of the loss": layout.columns * 7 * 4,
        },
        "all-reduce": {**sums, "loss": 2 * 4},
    }


def _gradient_bytes(training: Any, state: Any, *, widened: bool) -> int:
    """What is summed of the gradient over devices, unless micro-batches come first: then all of it in float32.

    The sum is taken where a parameter first meets data. The kernels of convolutions have the encoder's dtype there. The
    biases of a block's last BatchNorm and of its shortcut's are added to each other: they have one gradient.

    Args:
      widened: 16-bit numbers are summed as float32, as XLA does on CPUs.
    """
    if training.course.micro_batches > 1:
        return _bytes(state.params)
    narrow = training.model.encoder.dtype == jnp.bfloat16 and not widened

    def summed(path: Any, leaf: Any) -> int:
        names = jax.tree_util.keystr(path)
        if "shortcut_bn" in names and "bias" in names:
            return 0
        return leaf.size * (2 if narrow and leaf.ndim == 4 else leaf.dtype.itemsize)

    return sum(jax.tree.leaves(jax.tree_util.tree_map_with_path(summed, state.params)))


def _bytes(tree: Any) -> int:
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
