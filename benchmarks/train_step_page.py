"""The page of a run of `benchmarks.train_step`: a table, and the shares that follow from it."""

from typing import Any

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


def page(record: dict[str, Any]) -> str:
    """Markdown of what a run recorded."""
    parts = [
        "# A training step",
        f"    {record['command']}",
        _circumstances(record),
        "\n".join(_table(record)),
        _shares(record),
        _about_peak(record),
        _about_torch(record),
    ]
    return "\n\n".join(parts) + "\n"


def _circumstances(record: dict[str, Any]) -> str:
    computer, versions = record["machine"], record["machine"]["versions"]
    torch = "" if isinstance(record["torch"], str) else f", torch {versions['torch']}"
    return (
        f"{record['date']}; {record['devices']} x {computer['device']} ({computer['processor']}), {computer['cores']} "
        f"cores, jax {versions['jax']}{torch}; load {record['load_before']} before and {record['load_after']} after."
        "\n\n"
        f"{record['experiment']}: {record['model']}, width {record['width']}, {record['precision']}, loss "
        f"{record['loss']}, {record['images_per_step']} images of {'x'.join(map(str, record['image']))} per step as "
        f"{record['views_per_step']} views ({', '.join(record['views'])}). Best of {record['rounds']} rounds of "
        f"{record['steps_per_round']} steps in which all take turns; in brackets by how much their median is above it."
    )


def _table(record: dict[str, Any]) -> list[str]:
    seconds, rows = record["seconds_per_step"], record["views_per_step"]
    share = "share of peak" if record["peak"]["from"] == "the data sheet" else "share of the matrix product"
    lines = [
        f"| | time per step | views per second | GFLOP/s | {share} |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name, taken in seconds.items():
        if name == PRODUCT:
            continue
        network, loss = _flops(record, name)
        least = network / record["peak"]["network"] + loss / record["peak"]["loss"]
        above = 100 * (taken["median"] / taken["best"] - 1)
        lines.append(
            f"| {name} | {1000 * taken['best']:,.2f} ms ({above:+.1f} %) | {rows / taken['best']:,.1f} | "
            f"{(network + loss) / taken['best'] / 1e9:,.1f} | {100 * least / taken['best']:.1f} % |"
        )
    return lines


def _flops(record: dict[str, Any], name: str) -> tuple[int, int]:
    """Of network and loss, in what has this name."""
    flops = record["flops"]
    if name in (FORWARD, AUGMENTATION, LOSS):
        return flops["forward"] if name == FORWARD else 0, flops["loss"] if name == LOSS else 0
    return flops["network"], 0 if name == NO_LOSS else flops["loss"]


def _shares(record: dict[str, Any]) -> str:
    seconds = record["seconds_per_step"]
    best = {name: taken["best"] for name, taken in seconds.items()}
    scatter = {name: taken["median"] - taken["best"] for name, taken in seconds.items()}
    lines = ["Of a whole step, as the difference of two of them:", ""]
    for name, one, other in _SHARES:
        difference, noise = best[one] - best[other], 2 * max(scatter[one], scatter[other])
        told = f"{100 * difference / best[WHOLE]:.1f} % ({1000 * difference:,.2f} ms)"
        if abs(difference) <= noise or difference < 0:
            told = f"not to be told from the scatter of the rounds, as {told} is measured"
        lines.append(f"- {name}: {told}")
    alone = ", ".join(
        f"{name} {100 * best[name] / best[WHOLE]:.2f} %" for name in (AUGMENTATION, LOSS) if name in best
    )
    lines += ["", f"In programs of their own, of the time of a whole step: {alone}."] if alone else []
    load, cores = max(record["load_before"] or 0, record["load_after"] or 0), record["machine"]["cores"]
    if record["machine"]["platform"] == "cpu" and load > cores + 1:
        lines += ["", f"With a load of {load} on {cores} cores all of these figures are rough."]
    if OWN_GRADIENTS in best:
        ratio = best[OWN_GRADIENTS] / best[PLACED]
        lines += ["", f"With the kernel gradients that XLA makes itself a step takes {ratio:.2f} x as long."]
    if TORCH in best:
        ratio = best[TORCH] / best[NO_AUGMENTATION]
        lines += ["", f"Without augmentation on either side, PyTorch takes {ratio:.2f} x the time of ours."]
    return "\n".join(lines)


def _about_peak(record: dict[str, Any]) -> str:
    peak = record["peak"]
    flops = " and ".join(
        f"{record['flops'][part] / 1e9:,.2f} GFLOP for the {part}" for part in ("network", "loss")
    )
    return (
        f"Counted are the products that a step needs, as --mode=plan counts them: {flops}. The peak is that of "
        f"{peak['from']}: {peak['network'] / 1e9:,.0f} GFLOP/s for the network and {peak['loss'] / 1e9:,.0f} GFLOP/s "
        f"for the loss, on all devices."
    )


def _about_torch(record: dict[str, Any]) -> str:
    torch = record["torch"]
    if isinstance(torch, str):
        return f"PyTorch's row is left out: {torch}."
    how = "compiled by torch.compile" if torch["compiled"] else "as it is (eager)"
    return (
        f"PyTorch: channels last, {how}, on one batch that lies on the device, with the dense loss of the papers' "
        f"code. From the same weights on {torch['images']} images in float32 its first loss differs from ours by "
        f"{torch['loss_difference']:.1e} of it (allowed: {torch['loss_tolerance']:g}), the first update of all "
        f"parameters by {torch['update_difference']:.1e} of its length (allowed: {torch['update_tolerance']:g})."
    )
