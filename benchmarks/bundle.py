"""Turn a training run into a bundled model, with the figures that were measured for it.

    python benchmarks/bundle.py RUN NAME --description TEXT --command TEXT [--figures FILE ...]

Writes ``src/nucseg/models/bundled/NAME`` with the ONNX file and its ``model.json``. FILE is JSON of
another benchmark; its content is kept under the file's name. Add ``--keras`` to keep the Keras file
for further training too.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

from nucseg.models.zoo import BUNDLED, KERAS, ONNX, read_card, write_card

LICENCE = "BSD-3-Clause; trained on images of BBBC038 (CC0), encoder started from ImageNet weights"


def rounded(value: object) -> object:
    """Keep four decimals of every figure; the rest is noise."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return round(value, 4) if isinstance(value, float) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("name")
    parser.add_argument("--description", required=True)
    parser.add_argument("--command", required=True)
    parser.add_argument("--figures", type=Path, nargs="*", default=[])
    parser.add_argument("--keras", action="store_true")
    arguments = parser.parse_args()

    card = read_card(arguments.run)
    folder = BUNDLED / arguments.name
    folder.mkdir(parents=True, exist_ok=True)
    files = (ONNX, KERAS) if arguments.keras else (ONNX,)
    for file in files:
        shutil.copyfile(arguments.run / file, folder / file)
    measured = {file.stem: rounded(json.loads(file.read_text())) for file in arguments.figures}
    changes = {
        "name": arguments.name,
        "description": arguments.description,
        "licence": LICENCE,
        "training": {**card.training, "command": arguments.command},
        "figures": {**card.figures, **measured},
        "files": dict.fromkeys(files, ""),
    }
    write_card(folder, card.model_copy(update=changes))
    print(f"Wrote {folder}")


if __name__ == "__main__":
    main()
