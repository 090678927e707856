"""Where trainings find their data and keep their runs, from the command line."""

from absl import flags

DATA_DIR = flags.DEFINE_string("data_dir", "", "Folder of prepared TFDS data, as data.data_dir of a config.")
RUNS = flags.DEFINE_string("runs", "runs", "Folder in which trainings have theirs.")
