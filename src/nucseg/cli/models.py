"""``nucseg models``: the models that come with nucseg, or one in detail."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer


def models(
    name: Annotated[
        str | None, typer.Argument(help="A bundled model or a model folder; without it, a list.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """List the models that come with nucseg, or tell all about one.

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
        return "No models come with this copy of nucseg. Train one: nucseg train --help"
    width = max(len(model["name"]) for model in listed)
    lines = [
        f"{model['name']:{width}}  {_megabytes(model):>8}  {model['description']}"
        for model in listed
    ]
    return "\n".join([*lines, "", "All about one: nucseg models NAME"])


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
            lines.append(f"  {group}:")
            lines += [f"    {key}: {_value(value)}" for key, value in model[group].items()]
    return "\n".join(lines)


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _megabytes(model: dict[str, Any]) -> str:
    return f"{model['bytes'] / 1e6:.1f} MB"
