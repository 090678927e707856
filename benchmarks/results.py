"""What a benchmark leaves: its record as JSON, and a page that is made of the record alone."""

import json
import os
import pathlib
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from absl import flags

from benchmarks import machine

Record = dict[str, Any]

FOLDER = pathlib.Path(__file__).parent / "results"
OUTPUT = flags.DEFINE_string("output", str(FOLDER), "Folder for the record, its page and its pictures.")

# Where data and results are differs between machines, and changes nothing that is measured.
_FOLDER_OPTIONS = ("--config.data.data_dir", "--data_dir", "--runs", "--output")


def start(folder: str | pathlib.Path) -> Record:
    """The record of a benchmark that begins now and will be written into `folder`.

    Raises:
      SystemExit: the folder cannot be written, which is better known before hours of work.
    """
    try:
        pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SystemExit(
            f"error: --output is '{folder}', which is not a folder: {error.strerror}."
        ) from error
    if not os.access(folder, os.W_OK):
        raise SystemExit(f"error: --output is '{folder}', a folder that cannot be written.")
    return {"command": _command(sys.argv), "date": time.strftime("%Y-%m-%d"), "load_before": machine.load()}


def write(
    record: Record,
    make_page: Callable[[Record], str],
    folder: str | pathlib.Path,
    name: str,
    draw: Callable[[Record], Mapping[str, bytes]] = lambda record: {},
) -> str:
    """Write name.json, name.md and a name_<what>.png for each picture by its <what>, and return the page."""
    # The machine last: asking JAX for its devices takes their memory, which commands of main.py may need before.
    record |= {"machine": machine.describe(), "load_after": machine.load()}
    files = {f"{name}_{what}.png": png for what, png in draw(record).items()}
    text = with_pictures(make_page(record), list(files))
    files |= {f"{name}.json": (json.dumps(record, indent=1) + "\n").encode(), f"{name}.md": text.encode()}
    for file, content in files.items():
        (pathlib.Path(folder) / file).write_bytes(content)
    return text


def with_pictures(text: str, files: Sequence[str]) -> str:
    """A page with links to the pictures beside it."""
    return text + "".join(f"\n![{file}]({file})\n" for file in files)


def page(title: str, record: Record, *parts: str, packages: Sequence[str] = ("jax",)) -> str:
    """Markdown: the title, the command, when and where it ran, then the parts that are not empty.

    Args:
      packages: whose versions matter.
    """
    computer = record["machine"]
    count = f"{record['devices']} x " if "devices" in record else ""
    versions = ", ".join(f"{name} {computer['versions'][name]}" for name in packages)
    ran_on = f"{record['date']}; {count}{computer['device']} ({computer['processor']}), {computer['cores']} cores, "
    load = (
        f"; load {record['load_before']} before and {record['load_after']} after"
        if "load_after" in record
        else ""
    )
    head = (f"# {title}", f"    {record['command']}", f"{ran_on}{versions}{load}.")
    return "\n\n".join(filter(None, [*head, *parts])) + "\n"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], *, texts: int = 1) -> str:
    """A table in Markdown; the first `texts` columns are texts, the others numbers.

    >>> print(table(["", "time"], [["a step", "1 ms"]]))
    | | time |
    | --- | ---: |
    | a step | 1 ms |
    """
    rule = ["---"] * texts + ["---:"] * (len(heads) - texts)
    return "\n".join(
        "|" + "".join(f" {cell} |" if cell else " |" for cell in row) for row in (heads, rule, *rows)
    )


def _command(arguments: Sequence[str]) -> str:
    """What to type for the same benchmark on another machine."""
    kept, words = [], iter(arguments[1:])
    for word in words:
        if word.partition("=")[0] not in _FOLDER_OPTIONS:
            kept.append(word)
        elif "=" not in word:
            next(words, None)  # the folder is a word of its own
    return shlex.join(["python", "-m", f"benchmarks.{pathlib.Path(arguments[0]).stem}", *kept])
