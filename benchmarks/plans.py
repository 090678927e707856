"""The plans of docs/scaling.md: what the compiled training step of each config would need. Nothing is trained.

    python -m benchmarks.plans --of=micro_batches
    python -m benchmarks.plans --of=v5e        # needs the TPU compiler, and no TPU: pip install -e '.[tpu-plan]'

Starts one command of main.py for each row, which anybody can start alone; the page has them.
"""

import json
import pathlib
import shlex
import subprocess
import sys
import tempfile
from typing import Any, NamedTuple

from absl import app, flags

from benchmarks import results


class Row(NamedTuple):
    """A plan: what it is of, for people, and the arguments of main.py after --mode=plan."""

    label: str
    arguments: tuple[str, ...]


def _config(file: str, **settings: object) -> tuple[str, ...]:
    fields = [f"--config.{field.replace('__', '.')}={value}" for field, value in settings.items()]
    return (f"--config=configs/{file}.py", *fields)


def _small(batch: int, micro_batch: int = 0, *, remat: bool = False) -> Row:
    settings = {"model__name": "resnet18", "model__width": 16, "data__image_size": 16}
    settings |= {"train__batch_size": batch, "train__micro_batch_size": micro_batch, "model__remat": remat}
    label = "ResNet-18 of width 16, 16x16 pixels"
    label += f", micro-batches of {micro_batch}" if micro_batch else ""
    label += ", model.remat" if remat else ""
    return Row(label, _config("cifar10_tcl", **settings))


def _on_v5e(network: str, config: str, batch: int, chips: str) -> Row:
    settings = {"model__name": network.lower().replace("-", ""), "train__batch_size": batch}
    return Row(network, (*_config(config, **settings, probe__batch_size=256), f"--plan_topology=v5e:{chips}"))


ROWS = {
    "micro_batches": [
        _small(256, 256),
        _small(4096, 256),
        _small(1024),
        _small(1024, remat=True),
        _small(4096, 256, remat=True),
    ],
    "v5e": [
        _on_v5e("ResNet-18", "cifar10_tcl", 1024, "1x1"),
        _on_v5e("ResNet-18", "cifar10_tcl", 4096, "2x4"),
        _on_v5e("ResNet-18", "cifar10_tcl", 16384, "16x16"),
        _on_v5e("ResNet-50", "cifar100_tcl", 512, "1x1"),
        _on_v5e("ResNet-50", "cifar100_tcl", 4096, "2x4"),
        _on_v5e("ResNet-50", "cifar100_tcl", 16384, "16x16"),
        Row("vit_tiny", (*_config("cifar10_tcl_vit"), "--plan_topology=v5e:1x1")),
        Row("vit_tiny", (*_config("cifar10_tcl_vit"), "--plan_topology=v5e:2x4")),
        Row(
            "vit_small, 224x224 pixels, micro-batches of 64",
            (*_config("imagenet100_tcl_vit", train__micro_batch_size=64), "--plan_topology=v5e:1x1"),
        ),
        Row("vit_small, 224x224 pixels", (*_config("imagenet100_tcl_vit"), "--plan_topology=v5e:2x4")),
    ],
}

_NOTHING = "none"

_OF = flags.DEFINE_enum("of", None, list(ROWS), "Which plans.")


def main(argv: list[str]) -> None:
    """Make the plans, write the record and its page, and print the page."""
    del argv
    record = results.start(results.OUTPUT.value) | {"rows": []}
    for row in ROWS[_OF.value]:
        command = ["python", "main.py", "--mode=plan", *row.arguments]
        print(shlex.join(command), flush=True)
        record["rows"].append({"label": row.label, "command": shlex.join(command), "plan": _plan(command)})
    print(results.write(record, page, results.OUTPUT.value, f"plans_{_OF.value}"))


def _plan(command: list[str]) -> dict[str, Any]:
    """plan.json of a command, as it is typed; it ends here where that fails."""
    with tempfile.TemporaryDirectory() as folder:
        code = subprocess.run(
            [sys.executable, *command[1:], f"--workdir={folder}"], stdout=subprocess.DEVNULL, check=False
        ).returncode
        if code:
            sys.exit(code)
        return json.loads((pathlib.Path(folder) / "plan.json").read_text())


def page(record: results.Record) -> str:
    """Markdown of some plans: a row for each, without columns that have nothing, and the commands."""
    rows = [_cells(row) for row in record["rows"]]
    heads = [head for head in rows[0] if any(row[head] != _NOTHING for row in rows)]
    return results.page(
        "Plans of training steps: compiled, not measured",
        record,
        "docs/scaling.md says what the columns are.",
        results.table(heads, [[row[head] for head in heads] for row in rows], texts=2),
        "\n".join(f"    {row['command']}" for row in record["rows"]),
        packages=("jax", "libtpu"),
    )


def _cells(row: dict[str, Any]) -> dict[str, str]:
    """A row of the table, by the heads of its columns."""
    plan = row["plan"]
    devices, seconds, views = plan["devices"], plan["step_seconds"], plan["views_per_second"]
    return {
        "network": row["label"],
        "devices": f"{devices['count']} x {devices['kind']}",
        "images per step": f"{plan['batch_size']:,}",
        "memory": f"{plan['memory']['total'] / 2**20:,.0f} MiB",
        "FLOPs": f"{plan['flops']['compiled']:.2e} / {plan['flops']['formula']:.2e}",
        "all-gather": _traffic(plan["collectives"], "all-gather"),
        "all-reduce": _traffic(plan["collectives"], "all-reduce"),
        "time of a step": f"{1000 * seconds:.1f} ms" if seconds else _NOTHING,
        "views per second": f"{views:,.0f}" if views else _NOTHING,
    }


def _traffic(collectives: dict[str, Any], kind: str) -> str:
    """Bytes in the program."""
    found = collectives["compiled"].get(kind)
    return f"{found['bytes']:,}" if found else _NOTHING


if __name__ == "__main__":
    flags.adopt_module_key_flags(results)  # for --help
    flags.mark_flag_as_required("of")
    app.run(main)
