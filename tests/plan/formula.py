"""A formula for what devices exchange in a step, which docs/scaling.md explains; compiled programs are held to it."""

import jax


def expected_collectives(run, *, sync_batch_norm=True, platform="cpu"):
    """Bytes of the results of a step's collectives on each device, by kind and purpose, for one of our ResNets.

    Gathered are, for the loss, of every row the d numbers of the projection, its label, its number and whether it
    is live; and for the gradient, seven numbers that each row's statistics come down to. Summed are the gradient, the
    loss and its weight, and the mean and variance of each BatchNorm, forward and backward; where a pass is taken again,
    so are they.
    """
    statistics = size_in_bytes(run.state.batch_stats)
    sums = {"gradient": gradient_bytes(run, narrow=platform == "tpu")}
    if not sync_batch_norm:
        sums["running statistics"] = statistics
    elif run.micro_batches > 1:
        # In a loop, what the means get from the variances and from the outputs is not added before it is summed.
        sums["BatchNorm"] = run.micro_batches * ((2 + run.recomputed) * statistics + statistics // 2)
    else:
        # Of the four vectors of each BatchNorm (mean and variance, forward and backward) TPUs sum three.
        sums["BatchNorm"] = (2 + run.recomputed) * statistics - (statistics // 2 if platform == "tpu" else 0)
    if run.head == "classifier":
        return {"all-reduce": {**sums, "loss": 4}}
    rows = run.batch_size * run.num_views
    return {
        "all-gather": {
            "projections": rows * 128 * 4,
            "labels, row numbers, live rows": rows * (4 + 4 + 1),
            "gradient of the loss": rows * 7 * 4,
        },
        "all-reduce": {**sums, "loss and weight": 2 * 4},
    }


def gradient_bytes(run, *, narrow):
    """What is summed of the gradient over devices, unless micro-batches come first: then all of it in float32.

    The sum is taken where a parameter first meets data. There the kernels of convolutions have the encoder's dtype. The
    biases of a block's last BatchNorm and of its shortcut's are added to each other: they have one gradient.

    Args:
      narrow: whether the encoder computes in bfloat16; on CPUs 16-bit numbers are summed as float32 in any case.
    """

    def summed(path, leaf):
        names = jax.tree_util.keystr(path)
        if run.micro_batches == 1 and "shortcut_bn" in names and "bias" in names:
            return 0
        return leaf.size * (2 if run.micro_batches == 1 and narrow and leaf.ndim == 4 else 4)

    return sum(jax.tree.leaves(jax.tree_util.tree_map_with_path(summed, run.state.params)))


def size_in_bytes(tree):
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def totals(expected):
    return {kind: sum(parts.values()) for kind, parts in expected.items()}
