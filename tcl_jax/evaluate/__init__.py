"""What a frozen encoder is worth: features, classifiers, neighbours, retrieval, outliers, metrics of the user's own."""

from tcl_jax.evaluate.evaluation import Evaluation, Evaluator, evaluate
from tcl_jax.evaluate.features import extract_features
from tcl_jax.evaluate.few_labels import few_labels_predict
from tcl_jax.evaluate.knn import knn_predict
from tcl_jax.evaluate.logistic_regression import logistic_regression_predict
from tcl_jax.evaluate.metrics import METRICS, NoValue
from tcl_jax.evaluate.outliers import knn_auroc
from tcl_jax.evaluate.probe import linear_probe
from tcl_jax.evaluate.retrieval import retrieval_metrics
from tcl_jax.evaluate.validation import make_validate

__all__ = [
    "METRICS",
    "Evaluation",
    "Evaluator",
    "NoValue",
    "evaluate",
    "extract_features",
    "few_labels_predict",
    "knn_auroc",
    "knn_predict",
    "linear_probe",
    "logistic_regression_predict",
    "make_validate",
    "retrieval_metrics",
]
