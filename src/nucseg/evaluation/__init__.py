"""Evaluate a model, or label images of any origin, on a data set with ground truth."""

from nucseg.evaluation.judging import evaluate, read_groups
from nucseg.evaluation.results import Evaluation, ImageResult, figures

__all__ = ["Evaluation", "ImageResult", "evaluate", "figures", "read_groups"]
