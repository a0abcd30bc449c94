"""Turn a training run into a bundled model, with its measured figures.

    python benchmarks/bundle.py RUN NAME --description TEXT --command TEXT [--figures FILE]

Writes ``src/nucseg/models/bundled/NAME`` with the ONNX file and its ``model.json``. FILE is what
accuracy.py wrote for this run. Add ``--keras`` to keep the Keras file
for further training too. NAME may be that of a model and ``/bright``, for its images with a bright
background.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from nucseg.models.zoo import BUNDLED, CARD, KERAS, ONNX, read_card, write_card

FIGURES = ("kaggle_map", "ap50", "ap75", "pq", "dice", "iou", "absolute_count_error")


def licence_of(training: dict[str, Any]) -> str:
    """Name the licence of the model and those of the data sets that it was trained on."""
    data = training["data"]
    named = (
        "images of BBBC038 (CC0)"
        if isinstance(data, str)
        else ", ".join(f"{name} ({each['licence']})" for name, each in data.items())
    )
    return f"BSD-3-Clause; trained on {named}; encoder started from ImageNet weights"


def short(report: dict[str, Any]) -> dict[str, dict[str, dict[str, float]]]:
    """Pick the figures that a user compares models by, of what accuracy.py writes."""
    fold, test50 = report["fold"], report["test50"]
    groups = {"all": fold, **fold["groups"]}
    precisions = {key: test50["mean"][key] for key in test50["mean"] if key.startswith("ap")}
    return {
        f"fold {fold['fold']}": {
            name: {key: round(group["mean"][key], 4) for key in FIGURES}
            for name, group in groups.items()
        },
        "test50": {"mean over images": {key: round(ap, 4) for key, ap in precisions.items()}},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("name")
    parser.add_argument("--description", required=True)
    parser.add_argument("--command", required=True)
    parser.add_argument("--figures", type=Path)
    parser.add_argument("--keras", action="store_true")
    arguments = parser.parse_args()

    card = read_card(arguments.run)
    folder = BUNDLED / arguments.name
    folder.mkdir(parents=True, exist_ok=True)
    files = (ONNX, KERAS) if arguments.keras else (ONNX,)
    for file in files:
        shutil.copyfile(arguments.run / file, folder / file)
    measured = short(json.loads(arguments.figures.read_text())) if arguments.figures else {}
    changes = {
        "name": arguments.name,
        "description": arguments.description,
        "licence": licence_of(card.training),
        "training": {**card.training, "command": arguments.command},
        "figures": {**card.figures, **measured},
        "files": dict.fromkeys(files, ""),
    }
    write_card(folder, card.model_copy(update=changes))
    if (folder.parent / CARD).is_file():
        whole = read_card(folder.parent)
        files = dict.fromkeys((*whole.files, f"{folder.name}/{CARD}"), "")
        write_card(folder.parent, whole.model_copy(update={"bright": folder.name, "files": files}))
    print(f"Wrote {folder}")


if __name__ == "__main__":
    main()
