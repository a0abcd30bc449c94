"""Write nuclei as instances in COCO's JSON format."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nucseg.core.segmented import Segmented
from nucseg.export.format import Format
from nucseg.export.json_items import rounded, write_json_items
from nucseg.export.runs import coco_texts, column_runs

_CATEGORY = {"id": 1, "name": "nucleus", "supercategory": "cell"}


def write_coco(segmented: Segmented, path: Path, name: str) -> None:
    """Write the nuclei of one image as instances in COCO's JSON format.

    Parameters
    ----------
    segmented : Segmented
        Its `labels` are written. The id of an annotation is its label. Its segmentation, in
        compressed run-length encoding, decodes to the same pixels. `scores` are added if known.
    path : Path
    name : str
        The ``file_name`` of the image.

    Raises
    ------
    InputError
        The file cannot be written.
    """
    height, width = segmented.labels.shape
    fields = {
        "images": [{"id": 1, "file_name": name, "height": height, "width": width}],
        "categories": [_CATEGORY],
    }
    write_json_items(path, fields, "annotations", _annotations(segmented))


def _annotations(segmented: Segmented) -> Iterator[dict[str, Any]]:
    scores = segmented.scores
    for part in segmented.parts():
        runs = column_runs(part.labels, origin=part.origin, shape=segmented.labels.shape)
        columns = [runs.labels.tolist(), runs.areas().tolist(), runs.boxes().tolist()]
        nuclei = zip(*columns, coco_texts(runs), strict=True)
        for number, (label, area, box, text) in enumerate(nuclei, start=part.first):
            annotation = {
                "id": label,
                "image_id": 1,
                "category_id": _CATEGORY["id"],
                "segmentation": {"size": list(runs.shape), "counts": text},
                "area": area,
                "bbox": box,
                "iscrowd": 0,
            }
            if scores is not None:
                annotation["score"] = rounded(scores[number])
            yield annotation


COCO_JSON = Format(
    "coco", ".json", "COCO instances: run-length encoded masks, boxes, areas, scores", write_coco
)
