"""Small files that are whole or not there."""

from etils import epath


def write_whole(path: epath.Path, text: str) -> None:
    """Replace the file's content at one stroke: a process killed meanwhile leaves the old content or the new."""
    partial = path.parent / f"{path.name}.partial"
    partial.write_text(text)
    partial.replace(path)
