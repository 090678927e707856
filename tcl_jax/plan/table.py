"""A plan as a table for a terminal."""

from typing import Any


def format_plan(plan: dict[str, Any]) -> str:
    """The content of plan.json as a table of two columns, ready to print."""
    devices, memory, flops = plan["devices"], plan["memory"], plan["flops"]
    queue = plan["queue_size"]
    rows: list[tuple[str, str]] = [
        ("devices", f"{devices['count']} x {devices['kind']}"),
        (
            "data set",
            f"{plan['dataset']}, {plan['num_images']:,} training images ({plan['num_images_from']})",
        ),
        ("batch", f"{plan['batch_size']:,} images, {plan['rows']:,} views; {plan['steps']:,} steps in all"),
        *([("queue", f"{queue:,} rows of past batches")] if queue else []),
        ("parameters", f"{plan['parameters']:,} ({_bytes(plan['parameter_bytes'])})"),
        ("optimizer state", _bytes(plan["optimizer_bytes"])),
        ("FLOPs of a step", "all devices, products only, by formula"),
        ("  network", _flops(flops["network_whole"])),
        (f"  loss, {'6 n (n + m) d' if queue else '6 n^2 d'}", _flops(flops["loss_whole"])),
        ("FLOPs of each device", ""),
        ("  by formula", _flops(flops["formula"])),
        ("  compiled", f"{_flops(flops['compiled'])} (all operations; the body of a loop counts once)"),
        ("memory of each device", _share(memory["total"], memory["device"])),
        ("  arguments", _bytes(memory["arguments"])),
        (
            "  outputs",
            f"{_bytes(memory['outputs'])}, {_bytes(memory['aliased'])} of them in place of arguments",
        ),
        ("  temporaries", _bytes(memory["temporaries"])),
        *_collectives(plan["collectives"]),
    ]
    if plan["step_seconds"] is None:
        rows.append(("time", "not known for devices of this kind"))
    else:
        rows += [
            (f"at {plan['peak_share']:.0%} of peak", f"{1000 * plan['step_seconds']:.1f} ms per step"),
            ("", f"{plan['views_per_second']:,.0f} views/s"),
            ("", f"{_duration(plan['training_hours'])} of training, without evaluation"),
        ]
    width = max(len(name) for name, _ in rows)
    title = f"Plan of {plan['config_name']}: compiled, not measured"
    lines = [title, *(f"  {name:<{width}}   {value}".rstrip() for name, value in rows)]
    rule = "-" * max(len(line) for line in lines)
    return "\n".join([rule, *lines, rule])


def _collectives(found: dict[str, Any]) -> list[tuple[str, str]]:
    if not found["with_diagnostics"]:
        return [("collectives of a step", "none")]
    rows = [("collectives of a step", "bytes of the results on each device")]
    for kind, most in found["with_diagnostics"].items():
        always = found["compiled"].get(kind, {"bytes": 0, "operations": 0})
        rows.append((f"  {kind}", f"{always['bytes']:,} in {always['operations']} operations"))
        if more := most["bytes"] - always["bytes"]:
            rows.append((f"  {kind}, logged step", f"{more:,} more, for diagnostics"))
    return rows


def _share(needed: int, available: int | None) -> str:
    if available is None:
        return _bytes(needed)
    fits = "" if needed <= available else ": does not fit"
    return f"{_bytes(needed)} of {_bytes(available)}{fits}"


def _bytes(count: float) -> str:
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= size:
            return f"{count / size:,.2f} {unit}"
    return f"{count:,.0f} bytes"


def _duration(hours: float) -> str:
    return f"{hours:,.1f} hours" if hours >= 1 else f"{60 * hours:.1f} minutes"


def _flops(count: float | None) -> str:
    return "not reported" if count is None else f"{count:.3e}"
