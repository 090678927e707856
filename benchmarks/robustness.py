"""kNN accuracy of the encoders of a study on corrupted test images; the study's record and page get a table of it.

    python -m benchmarks.robustness --study=fashion_mnist_converged --data_dir=/data/tfds

For runs that `benchmarks.accuracy` has finished and whose folders are still in --runs. Repeat the command after more
runs: what the record has is not measured again.
"""

import pathlib

import numpy as np
from absl import app, flags, logging
from ml_collections import ConfigDict

from benchmarks import accuracy, folders, machine, results
from benchmarks.accuracy_page import CORRUPTED
from benchmarks.accuracy_record import decided, find, read_record, record_path
from benchmarks.corruptions import CORRUPTIONS, SEVERITIES
from benchmarks.studies import STUDIES
from tcl_jax import load_encoder
from tcl_jax.errors import RunFailed, UserError
from tcl_jax.evaluate import knn_predict
from tcl_jax.experiment.data import load_data

_LARGEST_BANK = 10_000  # training images among which neighbours are looked for, the first ones


def main(argv: list[str]) -> None:
    """Measure each run that has not been, add it to the record, and print the page."""
    del argv
    logging.set_verbosity(logging.FATAL)  # of what libraries read
    name, folder = accuracy.STUDY.value, pathlib.Path(results.OUTPUT.value)
    results.check_folder(folder)
    kind = machine.in_file_name(machine.describe_elsewhere()["device"])
    study, path = decided(STUDIES[name], folder, kind), record_path(name, folder, kind)
    record = read_record(path, name, study)
    for run in study.runs():
        known = find(record, run)
        if known is None or CORRUPTED in known:
            continue
        workdir = accuracy.workdir_of(name, run)
        try:
            found = measure(workdir, run.point.config, known["params_sha256"])
        except (UserError, RunFailed) as error:
            print(f"{run.name} is left out: {error}", flush=True)
            continue
        accuracy.save(known | {CORRUPTED: found}, run, name, study, path)
        print(f"{run.name}: done", flush=True)
    if path.exists():
        print(path.with_suffix(".md").read_text())


def measure(workdir: pathlib.Path, config: ConfigDict, params_sha256: str) -> dict[str, list[float]]:
    """kNN accuracies on corrupted test images by severity, and that on clean ones, of the encoder of a run.

    Raises:
      UserError: there is no such run, or its encoder is not the one with these parameters.
    """
    encoder = load_encoder(workdir)
    if encoder.description.params_sha256 != params_sha256:
        raise UserError(f"The encoder in {workdir} is not the one of the record: train the run again.")
    config = config.copy_and_resolve_references()
    config.data.data_dir = folders.DATA_DIR.value
    data = load_data(config).evaluated
    assert data is not None  # the run was evaluated
    assert data.test is not None
    bank = data.train.select(np.arange(min(_LARGEST_BANK, len(data.train.labels))))
    bank_features, images = encoder(bank.images[:]), data.test.images[:]

    def of(images: np.ndarray) -> float:
        predicted = knn_predict(
            encoder(images), bank_features, bank.labels, num_classes=len(data.class_names)
        )
        return float(np.mean(predicted == data.test.labels))

    return {"clean": [of(images)]} | {
        name: [of(corrupt(images, severity, seed=severity)) for severity in SEVERITIES]
        for name, corrupt in CORRUPTIONS.items()
    }


if __name__ == "__main__":
    for module in (accuracy, folders, results):
        flags.adopt_module_key_flags(module)  # for --help
    flags.mark_flag_as_required("study")
    app.run(main)
