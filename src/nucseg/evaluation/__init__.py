"""Judging a model, or label images from anywhere, on a data set with known nuclei."""

from nucseg.evaluation.judging import evaluate, read_groups
from nucseg.evaluation.results import Evaluation, ImageResult, figures

__all__ = ["Evaluation", "ImageResult", "evaluate", "figures", "read_groups"]
