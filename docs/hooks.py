"""Parts of the site that mkdocs generates: commands, model cards, list of benchmarks.

They replace comments in the pages, so that the pages always agree with the code:
``<!-- commands -->``, ``<!-- model NAME -->`` and ``<!-- benchmarks -->``.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

ROOT = Path(__file__).parents[1]
PLACES = re.compile(r"^<!-- (commands|model|benchmarks) ?(\S*) -->$", re.MULTILINE)
KINDS = {int: "NUMBER", float: "NUMBER", Path: "PATH"}
MODALITIES = ("all", "fluorescence", "histology", "brightfield")
FOLD_FIGURES = {
    "kaggle_map": "Kaggle mAP",
    "ap50": "AP50",
    "ap75": "AP75",
    "pq": "PQ",
    "dice": "Dice",
    "iou": "IoU",
    "absolute_count_error": "count error, mean",
}


def on_page_markdown(markdown: str, **_event: Any) -> str:
    """Replace the comments of a page; called by mkdocs."""
    made = {
        "commands": lambda _: "\n".join(command_reference()),
        "model": lambda name: "\n".join(model_card(name)),
        "benchmarks": lambda _: "\n".join(benchmark_list()),
    }
    return PLACES.sub(lambda place: made[place[1]](place[2]), markdown)


def command_reference() -> Iterator[str]:
    """Lines of a section for each command: its help and its options."""
    from typer.main import get_command

    from nucseg.cli.main import app

    for name, command in _commands("nucseg", get_command(app)):
        kinds = get_type_hints(inspect.unwrap(command.callback))
        arguments = [each for each in command.params if each.param_type_name == "argument"]
        options = [each for each in command.params if each.param_type_name == "option"]
        usage = " ".join([name, *map(_argument, arguments), "[OPTIONS]" if options else ""])
        yield from ("", f"## {name}", "", "```text", usage.strip(), "```", "")
        yield inspect.cleandoc(command.help or "")
        if arguments:
            yield from ("", "| argument | what it is |", "|---|---|")
            yield from (f"| `{_argument(each)}` | {_cell(each.help)} |" for each in arguments)
        if options:
            yield from ("", "| option | default | what it does |", "|---|---|---|")
            yield from (
                f"| {_names(each, kinds[each.name])} | {_default(each)} | {_cell(each.help)} |"
                for each in options
            )


def _commands(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    """Yield the subcommands of a command with their full names, also those of groups."""
    for each, subcommand in command.commands.items():
        if hasattr(subcommand, "commands"):
            yield from _commands(f"{name} {each}", subcommand)
        else:
            yield f"{name} {each}", subcommand


def _argument(argument: Any) -> str:
    shown = (argument.metavar or argument.name).strip("[]{}.")
    shown += "..." if argument.nargs != 1 else ""
    return shown if argument.required else f"[{shown}]"


def _names(option: Any, kind: Any) -> str:
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    if option.is_flag:
        return names
    return f"{names} `{option.metavar or _value(kind)}`"


def _value(kind: Any) -> str:
    """Value of an option: its choices, or a placeholder for its type."""
    if get_origin(kind) is Literal:
        return "|".join(get_args(kind))
    for each in get_args(kind) or (kind,):
        if issubclass(each, Enum):
            return "|".join(choice.value for choice in each)
        if each in KINDS:
            return KINDS[each]
    return "TEXT"


def _plain(value: Any) -> str:
    return str(getattr(value, "value", value))


def _default(option: Any) -> str:
    if option.required:
        return "needed"
    if option.is_flag and option.default is not None:
        return f"`{option.opts[0]}`" if option.default and option.secondary_opts else ""
    shown = option.show_default
    if isinstance(shown, str):
        return _cell(shown)
    return "" if shown is False or option.default is None else f"`{_plain(option.default)}`"


def _cell(text: str | None) -> str:
    """Text in a table cell: literal text of the terminal, not markup of the site."""
    plain = (text or "").replace("&lt;", "<").replace("&gt;", ">").replace("|", "\\|")
    return re.sub(r"<([^>]*)>", r"&lt;\1&gt;", plain)


def _data_sets(data: Any) -> str:
    """List data sets with licence and source; nothing if the card contains only their file."""
    if isinstance(data, str):
        return ""
    return "; ".join(
        ", ".join(filter(None, (f"{name} ({each['licence']})", each.get("source"))))
        for name, each in data.items()
    )


def _beginning(settings: dict[str, Any]) -> str:
    if settings.get("start_from"):
        return f"the weights {settings['start_from']}"
    given = settings["encoder_weights"]
    return "ImageNet weights of the encoder" if "imagenet" in given else f"encoder: {given}"


def model_card(name: str) -> Iterator[str]:
    """Lines of a table with the content of ``model.json`` of a bundled model."""
    from nucseg.models.zoo import find_model, read_card

    folder = find_model(name)
    card = read_card(folder)
    megabytes = {file: (folder / file).stat().st_size / 1e6 for file in card.files}
    training, settings = card.training, card.training["settings"]
    size = card.preprocessing.size
    facts = {
        "description": card.description,
        "recipe": f"{card.recipe}: `nucseg train --recipe {card.recipe}`",
        "input": "images at {} × {} pixels".format(*size)
        if size
        else "images at their own resolution",
        "output maps of the network": ", ".join(card.outputs),
        "images": _images(training["images"]),
        "training": _length(training),
        "data sets": _data_sets(training["data"]),
        "initialized with": _beginning(settings),
        "command": f"`{training['command']}`" if "command" in training else "",
        "postprocessing": _settings(card.postprocessing.model_dump()),
        "versions": _settings(card.versions),
        "files": ", ".join(f"`{file}` {size:.0f} MB" for file, size in megabytes.items()),
        "licence": card.licence,
    }
    yield from (f"| about | {name} |", "|---|---|")
    yield from (f"| {key} | {_cell(value)} |" for key, value in facts.items() if value)
    yield from _figures(card.figures)


def _length(training: Mapping[str, Any]) -> str:
    if "crops" in training:
        seen = f"{training['crops']:,} crops"
    else:
        seen = f"{training['epochs']} epochs; epoch {training['kept_epoch']} was kept"
    return f"{seen}; {training['seconds'] / 60:.0f} minutes"


def _images(numbers: Mapping[str, int]) -> str:
    return (
        f"{numbers['train']} for training; {numbers['validation']} for validation and tuning; "
        f"{numbers['test']} held out for testing"
    )


def _settings(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items() if value is not None)


def _figures(figures: Mapping[str, Any]) -> Iterator[str]:
    """Tables of the two protocols of ``benchmarks/accuracy.py``."""
    for fold, groups in figures.items():
        if fold.startswith("fold"):
            yield from ("", f"Mean over the images of {fold} of the 2018 Data Science Bowl:", "")
            yield "| images | " + " | ".join(FOLD_FIGURES.values()) + " |"
            yield "|---" * (len(FOLD_FIGURES) + 1) + "|"
            for group in (each for each in MODALITIES if each in groups):
                numbers = [f"{groups[group][key]:.4g}" for key in FOLD_FIGURES]
                yield "| " + " | ".join([group, *numbers]) + " |"
    if "test50" in figures:
        held = figures["test50"]["mean over images"]
        yield from ("", "Mean AP over the 50 images of the StarDist paper:", "")
        yield "| IoU above | " + " | ".join(f".{key[2:]}" for key in held) + " |"
        yield "|---" * (len(held) + 1) + "|"
        yield "| AP | " + " | ".join(f"{value:.4g}" for value in held.values()) + " |"


def benchmark_list() -> Iterator[str]:
    """Lines of a table: what each script in ``benchmarks/`` measures, and its command."""
    yield from ("| what is measured | command |", "|---|---|")
    for path in sorted((ROOT / "benchmarks").glob("*.py")):
        about = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        command = re.search(rf"^ +(python benchmarks/{path.name}.*(?:\n {{8,}}.*)*)", about, re.M)
        if command:
            shown = " ".join(command[1].split())
            yield f"| {_cell(about.splitlines()[0].rstrip('.'))} | `{shown}` |"
