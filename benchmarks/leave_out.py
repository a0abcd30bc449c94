"""Effect of each augmentation of training crops on a held-out source of images.

    python benchmarks/leave_out.py pack DATA [DATA ...] FOLDER --split FILE --hold PREFIX|FILE
    python benchmarks/leave_out.py train FOLDER --crops 6000 [--device cpu]
    python benchmarks/leave_out.py judge DATA [DATA ...] FOLDER --split FILE --hold PREFIX|FILE

The images held out are those whose name begins with PREFIX, as ``tnbc/``, or that FILE lists, one a
line; they are taken out of the split, and all of them are judged. `train` makes equal short
trainings of the rest by `nuclei_gpu.py`: with all changes, with none, and without one at a time.
`pack` and `judge` need Keras, `train` needs torch; they may run on different machines. A training
that is done is not made again. Begin with a network that has not seen the images held out (--from).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from accuracy import print_table, short
from nuclei_gpu import PACKED

from nucseg.datasets.reading import open_datasets
from nucseg.datasets.splits import Split, read_split, write_split

CHANGES = (
    "crowd", "vary", "as_tissue", "immuno", "strength", "stain", "thickness", "elastic", "defocus",
    "coarse", "jpeg",
)  # fmt: skip
ARMS = {
    "all": {},
    "none": dict.fromkeys(CHANGES, 0),
    **{f"without {name}": {name: 0} for name in CHANGES},
}
BENCHMARKS = Path(__file__).parent


def held_out(dataset, hold):
    """Images that are held out."""
    if Path(hold).is_file():
        named = set(Path(hold).read_text(encoding="utf-8").split())
        return [name for name in dataset.image_ids if name in named]
    return [name for name in dataset.image_ids if name.startswith(hold)]


def split_without(options):
    """Give the data sets, the images held out, and where the split of the others lies."""
    dataset = open_datasets(options.data)
    held = held_out(dataset, options.hold)
    if not held:
        raise SystemExit(f"No image is named by --hold {options.hold}.")
    split, left = read_split(options.split, dataset.image_ids), set(held)
    train, validation = (
        tuple(name for name in names if name not in left)
        for names in (split.train, split.validation)
    )
    options.folder.mkdir(parents=True, exist_ok=True)
    path = options.folder / "split.csv"
    write_split(path, Split(train, validation))
    return dataset, held, path


def run(script, *arguments):
    subprocess.run(
        [sys.executable, str(BENCHMARKS / script), *map(str, arguments)], check=True, cwd=Path.cwd()
    )


def pack(options):
    _, held, split = split_without(options)
    begin = ["--from", options.start_from] if options.start_from else []
    begin += ["--encoder-weights", options.encoder_weights]
    run("nuclei_gpu.py", "pack", *options.data, options.folder, "--split", split, *begin)
    print(f"{len(held)} images held out")


def train(options):
    for name, changes in ARMS.items():
        out = name.replace(" ", "-")
        if (options.folder / f"{out}.json").exists() or (options.arms and name not in options.arms):
            continue
        sets = [text for key, value in changes.items() for text in ("--set", f"{key}={value}")]
        # The end of the learning rate's fall is marked by the crops.
        run(
            "nuclei_gpu.py", "train", options.folder, "--crops", options.crops, "--out", out,
            "--batch", options.batch, "--learning-rate", options.learning_rate,
            "--device", options.device, *sets,
            *(["--workers", options.workers] if options.workers else []),
        )  # fmt: skip


def judge(options):
    from tissue import judge as figures_of

    from nucseg import load_model

    dataset, held, split = split_without(options)
    samples = [(sample.pixels, sample.labels) for sample in map(dataset.read, held)]
    rows, figures = [], {}
    for name in ARMS:
        out = options.folder / name.replace(" ", "-")
        if not out.with_suffix(".json").exists():
            continue
        model = options.folder / "models" / out.name
        if not model.exists():
            run(
                "nuclei_gpu.py", "finish", *options.data, model, options.folder, "--split", split,
                "--weights", out.name,
            )  # fmt: skip
        figure = figures[name] = figures_of(load_model(model), samples)
        rows.append((name, *(short(figure[key]) for key in ("ap50", "ap75", "f1", "count_ratio"))))
    started = json.loads((options.folder / PACKED).read_text())
    crops = json.loads((options.folder / "all.json").read_text())["crops"]
    print(f"\n{len(held)} images held out; {crops} crops each, from {started}\n")
    print_table(("crops", "AP50", "AP75", "F1", "found / true"), rows)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    for name, function in (("pack", pack), ("judge", judge)):
        command = commands.add_parser(name)
        command.add_argument("data", type=Path, nargs="+")
        command.add_argument("folder", type=Path)
        command.add_argument("--split", type=Path, required=True)
        command.add_argument("--hold", required=True)
        command.set_defaults(run=function)
        if function is pack:
            command.add_argument("--from", dest="start_from", type=Path)
            command.add_argument("--encoder-weights", default="imagenet")
        else:
            command.add_argument("--json", type=Path)
    training = commands.add_parser("train")
    training.add_argument("folder", type=Path)
    training.add_argument("--crops", type=int, default=6000)
    training.add_argument("--batch", type=int, default=8)
    training.add_argument("--learning-rate", type=float, default=5e-4)
    training.add_argument("--device", default="cuda")
    training.add_argument("--workers", type=int)
    training.add_argument("--arms", nargs="+", choices=ARMS, help="by default all")
    training.set_defaults(run=train)
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
