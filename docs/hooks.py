"""What the site takes from outside of docs/: README.md as its first page, notebooks, and records and cards by link."""

import pathlib
import re
from typing import Any

from mkdocs.structure.files import File, Files
from nbconvert import MarkdownExporter

ROOT = pathlib.Path(__file__).parents[1]
PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "CONTRIBUTING.md", "CHANGELOG.md": "CHANGELOG.md"}


def on_files(files: Files, config: Any) -> Files:
    """Add the pages of the repository's root, the records of the benchmarks, and the cards of the trained encoders."""
    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=_from_docs((ROOT / source).read_text("utf-8"))))
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        page, resources = MarkdownExporter().from_filename(str(path), {"unique_key": path.stem})
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=_between_pages(page)))
        for name, picture in resources["outputs"].items():
            files.append(File.generated(config, f"notebooks/{name}", content=picture))
    for path in sorted([*(ROOT / "benchmarks" / "results").iterdir(), *(ROOT / "weights").iterdir()]):
        if path.suffix in (".md", ".png"):
            uri = path.relative_to(ROOT).as_posix()
            files.append(File.generated(config, uri, abs_src_path=str(path)))
            # Many pages of one kind: others lead to each, and the list of contents does not name them.
            files.get_file_from_path(uri).inclusion = type(files.get_file_from_path(uri).inclusion).NOT_IN_NAV
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links from docs/ to what lies beside it in the repository, and here below it."""
    if "/" in page.file.src_uri:  # a page of another folder, whose neighbours are the same here
        return markdown
    return re.sub(
        r"(\]\(|href=\")\.\./(benchmarks/results/|weights/|CONTRIBUTING|CHANGELOG)", r"\1\2", markdown
    )


def _from_docs(markdown: str) -> str:
    """Links from the root to docs/, as seen from docs/."""
    return re.sub(r"(\]\(|src=\")docs/", r"\1", markdown)


def _between_pages(notebook: str) -> str:
    """Links from notebooks/ to docs/ and to other notebooks, as seen from the notebook's page."""
    return re.sub(r"\]\((\w+)\.ipynb\)", r"](\1.md)", notebook.replace("](../docs/", "](../"))
