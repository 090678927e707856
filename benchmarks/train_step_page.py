"""The page of `benchmarks.train_step`: a table, and the shares that follow from it."""

from benchmarks import results
from benchmarks.results import Record, table

WHOLE, PLACED = "whole step, real batches", "whole step, one batch on the device"
NO_AUGMENTATION, NO_LOSS = "without augmentation", "without the loss"
AUGMENTATION, LOSS = "augmentation alone", "loss and its gradient alone"
OWN_GRADIENTS = "with XLA's own kernel gradients"
FORWARD, TORCH, PRODUCT = "forward pass alone", "PyTorch, without augmentation", "matrix product"

# What each is part of, and of which steps it is the difference.
_SHARES = (
    ("augmentation", PLACED, NO_AUGMENTATION),
    ("loss", PLACED, NO_LOSS),
    ("waiting for data", WHOLE, PLACED),
)


def page(record: Record) -> str:
    """Markdown: the time of a step and of its variants, and what follows from them."""
    best = {name: taken["best"] for name, taken in record["seconds_per_step"].items()}
    return results.page(
        "A training step",
        record,
        f"{record['experiment']}: {record['model']}, width {record['width']}, {record['precision']}, loss "
        f"{record['loss']}, {record['images_per_step']} images of {'x'.join(map(str, record['image']))} per step as "
        f"{record['views_per_step']} views ({', '.join(record['views'])}). Best of {record['rounds']} rounds of "
        f"{record['steps_per_round']} steps in which all take turns; in brackets by how much their median is above it.",
        _times(record),
        "Of a whole step, as the difference of two of them:",
        _shares(record),
        *_comparisons(record, best),
        _about_peak(record),
        _about_torch(record["torch"]),
        packages=("jax",) if isinstance(record["torch"], str) else ("jax", "torch"),
    )


def _times(record: Record) -> str:
    rows, peak = [], record["peak"]
    for name, taken in record["seconds_per_step"].items():
        if name == PRODUCT:
            continue
        best, (network, loss) = taken["best"], _flops(record["flops"], name)
        rows.append(
            [
                name,
                f"{1000 * best:,.2f} ms ({100 * (taken['median'] / best - 1):+.1f} %)",
                f"{record['views_per_step'] / best:,.1f}",
                f"{(network + loss) / best / 1e9:,.1f}",
                f"{100 * (network / peak['network'] + loss / peak['loss']) / best:.1f} %",
            ]
        )
    share = "share of peak" if peak["from"] == "the data sheet" else "share of the matrix product"
    return table(["", "time per step", "views per second", "GFLOP/s", share], rows)


def _flops(flops: dict[str, int], name: str) -> tuple[int, int]:
    """Of network and loss, in what has this name."""
    if name in (FORWARD, AUGMENTATION, LOSS):
        return flops["forward"] if name == FORWARD else 0, flops["loss"] if name == LOSS else 0
    return flops["network"], 0 if name == NO_LOSS else flops["loss"]


def _shares(record: Record) -> str:
    seconds, lines = record["seconds_per_step"], []
    for name, one, other in _SHARES:
        difference = seconds[one]["best"] - seconds[other]["best"]
        scatter = 2 * max(seconds[step]["median"] - seconds[step]["best"] for step in (one, other))
        text = f"{100 * difference / seconds[WHOLE]['best']:.1f} % ({1000 * difference:,.2f} ms)"
        lines.append(
            f"- {name}: {text}{'' if difference > scatter else ', not above the scatter of the rounds'}"
        )
    return "\n".join(lines)


def _comparisons(record: Record, best: dict[str, float]) -> list[str]:
    """A sentence for each comparison whose steps were timed."""
    lines = []
    if alone := [
        f"{name} {100 * best[name] / best[WHOLE]:.2f} %" for name in (AUGMENTATION, LOSS) if name in best
    ]:
        lines.append(f"In programs of their own, of the time of a whole step: {', '.join(alone)}.")
    load, cores = max(record["load_before"] or 0, record["load_after"] or 0), record["machine"]["cores"]
    if record["machine"]["platform"] == "cpu" and load > cores + 1:
        lines.append(f"With a load of {load} on {cores} cores all of these numbers are rough.")
    if OWN_GRADIENTS in best:
        ratio = best[OWN_GRADIENTS] / best[PLACED]
        lines.append(f"With the kernel gradients that XLA makes itself a step takes {ratio:.2f} x as long.")
    if TORCH in best:
        ratio = best[TORCH] / best[NO_AUGMENTATION]
        lines.append(f"Without augmentation on either side, PyTorch takes {ratio:.2f} x the time of ours.")
    return lines


def _about_peak(record: Record) -> str:
    peak, flops = record["peak"], record["flops"]
    return (
        f"Counted are the products that a step needs, as --mode=plan counts them: {flops['network'] / 1e9:,.2f} GFLOP "
        f"for the network and {flops['loss'] / 1e9:,.2f} GFLOP for the loss. The peak is that of {peak['from']}: "
        f"{peak['network'] / 1e9:,.0f} GFLOP/s for the network and {peak['loss'] / 1e9:,.0f} GFLOP/s for the loss, on "
        "all devices."
    )


def _about_torch(torch: dict | str) -> str:
    if isinstance(torch, str):
        return f"PyTorch's row is left out: {torch}."
    how = "compiled by torch.compile" if torch["compiled"] else "as it is (eager)"
    return (
        f"PyTorch: channels last, {how}, on one batch that lies on the device, with the dense loss of the papers' "
        f"code. From the same weights on {torch['images']} images in float32 its first loss differs from ours by "
        f"{torch['loss_difference']:.1e} of it (allowed: {torch['loss_tolerance']:g}), the first update of all "
        f"parameters by {torch['update_difference']:.1e} of its length (allowed: {torch['update_tolerance']:g})."
    )
