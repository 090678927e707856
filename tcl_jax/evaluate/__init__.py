"""What a frozen encoder is worth: features, linear classifiers, neighbours, retrieval, metrics of the user's own."""

from tcl_jax.evaluate.evaluation import Evaluation, Evaluator, evaluate
from tcl_jax.evaluate.features import extract_features
from tcl_jax.evaluate.knn import knn_predict
from tcl_jax.evaluate.logistic_regression import logistic_regression_predict
from tcl_jax.evaluate.metrics import METRICS
from tcl_jax.evaluate.probe import linear_probe
from tcl_jax.evaluate.retrieval import retrieval_metrics
from tcl_jax.evaluate.validation import make_validate

__all__ = [
    "METRICS",
    "Evaluation",
    "Evaluator",
    "evaluate",
    "extract_features",
    "knn_predict",
    "linear_probe",
    "logistic_regression_predict",
    "make_validate",
    "retrieval_metrics",
]
