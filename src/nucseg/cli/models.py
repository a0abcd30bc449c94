"""``nucseg models``: the bundled models, or one model in detail."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer


def models(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL", help="A bundled model or a model folder; without it, list all."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """List the bundled models, or describe one in detail.

    The description contains the data, settings, measured accuracy and licence of the model.

    **Examples**

        nucseg models
        nucseg models classic-128
        nucseg models run --json
    """
    from nucseg.models.zoo import bundled_models

    if name is None:
        listed = [_describe(each) for each in bundled_models()]
        typer.echo(json.dumps(listed, indent=2) if as_json else _table(listed))
    else:
        described = _describe(name)
        typer.echo(json.dumps(described, indent=2) if as_json else _details(described))


def _describe(name: str) -> dict[str, Any]:
    from nucseg.models.zoo import find_model, read_card

    folder = find_model(name)
    card = read_card(folder)
    return {
        **card.model_dump(mode="json"),
        "folder": str(folder),
        "bytes": sum((folder / file).stat().st_size for file in card.files),
    }


def _table(listed: list[dict[str, Any]]) -> str:
    if not listed:
        return "This copy of nucseg has no bundled models. Train one: nucseg train --help"
    width = max(len(model["name"]) for model in listed)
    lines = [
        f"{model['name']:{width}}  {_megabytes(model):>8}  {model['description']}"
        for model in listed
    ]
    return "\n".join([*lines, "", "Details of a model: nucseg models NAME"])


def _details(model: dict[str, Any]) -> str:
    lines = [model["name"], model["description"]]
    for title, value in (
        ("folder", model["folder"]),
        ("size", _megabytes(model)),
        ("recipe", model["recipe"]),
        ("licence", model["licence"]),
    ):
        lines.append(f"  {title}: {value}")
    for group in ("figures", "preprocessing", "postprocessing", "network", "training", "versions"):
        if model[group]:
            lines += _tree(group, model[group], indent=2)
    return "\n".join(lines)


def _tree(name: str, value: Any, *, indent: int) -> list[str]:
    """Lines of a value: groups of groups as a tree, a group of plain values on one line."""
    start = f"{' ' * indent}{name}:"
    if not isinstance(value, dict):
        return [f"{start} {_plain(value)}"]
    if indent > 2 and not any(isinstance(item, dict) for item in value.values()):
        return [f"{start} " + ", ".join(f"{key} {_plain(item)}" for key, item in value.items())]
    branches = (_tree(key, item, indent=indent + 2) for key, item in value.items())
    return [start, *(line for branch in branches for line in branch)]


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _megabytes(model: dict[str, Any]) -> str:
    return f"{model['bytes'] / 1e6:.1f} MB"
