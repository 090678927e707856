"""The demo in runs/ of the current folder has learned, and its page is there."""

import json
import pathlib

run = pathlib.Path("runs/digits_tcl")
accuracy = json.loads((run / "results.json").read_text())["metrics"]["linear_probe"]
assert accuracy >= 0.98, f"the demo's linear probe reached {accuracy}, expected 0.98 or more"
assert "<html" in (run / "report" / "index.html").read_text()
