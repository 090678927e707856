"""What a frozen encoder is worth: features, linear probe, nearest neighbours."""

from tcl_jax.evaluate.features import extract_features, make_encode
from tcl_jax.evaluate.knn import knn_predict
from tcl_jax.evaluate.probe import linear_probe
from tcl_jax.evaluate.validation import make_validate

__all__ = ["extract_features", "knn_predict", "linear_probe", "make_encode", "make_validate"]
