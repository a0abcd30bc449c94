"""``nucseg doctor``: check the installation, or the log of a training run."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

import typer

EXTRAS = {
    "inference": ("numpy", "onnxruntime", "opencv-python-headless", "scikit-image", "tifffile"),
    "train": ("tensorflow", "keras", "tensorboard", "matplotlib", "scikit-learn", "onnx"),
    "formats": ("imagecodecs",),
    "napari": ("napari",),
    "app": ("fastapi", "uvicorn"),
    "openvino": ("openvino",),
    "gpu": ("onnxruntime-gpu",),
}
# Packages that have the same module as another one, either of which does.
_SAME = {"onnxruntime": ("onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino")}


def doctor(
    run: Annotated[
        Path | None,
        typer.Argument(
            metavar="RUN", help="Folder of a training run; without it, the installation."
        ),
    ] = None,
) -> None:
    """Check the installation, or the TensorBoard log of a training run.

    Of the installation it also tells what the network can run on, how fast, and what is taken:
    the fastest that finds the same nuclei in samples as the CPU does in f32.

    Exits with 1 where something is wrong.

    **Examples**

        nucseg doctor
        nucseg doctor run
    """
    healthy = _check_installation() if run is None else _check_run(run)
    if not healthy:
        raise typer.Exit(1)


def _check_installation() -> bool:
    from nucseg.errors import ModelError
    from nucseg.models.zoo import bundled_models, find_model, read_card

    typer.echo(
        f"nucseg {version('nucseg')}, Python {platform.python_version()}, "
        f"{platform.system()} {platform.machine()}"
    )
    healthy = True
    for extra, packages in EXTRAS.items():
        found = _versions(packages)
        missing = [name for name, number in found.items() if number is None]
        listed = ", ".join(f"{name} {number}" for name, number in found.items() if number)
        typer.echo(f"{extra}: {listed or 'not installed'}")
        if missing and extra == "inference":
            healthy = False
            typer.echo(f"  Missing: {', '.join(missing)}. Install nucseg again: pip install nucseg")
        elif missing:
            typer.echo(
                f'  Missing: {", ".join(missing)}. To get them: pip install "nucseg[{extra}]"'
            )
    for name in bundled_models():
        try:
            read_card(find_model(name))
            typer.echo(f"model {name}: complete")
        except ModelError as error:
            healthy = False
            typer.echo(f"model {name}: {error}")
    return _check_devices() and healthy


def _check_devices() -> bool:
    """Tell what the default model can run on; false where it does not even run on the CPU."""
    from nucseg.errors import NucsegError
    from nucseg.inference.devices import Network, in_order, judged, processor_name
    from nucseg.models.zoo import find_model, read_card

    typer.echo(f"processor: {processor_name()}")
    try:
        folder = find_model()
        found = judged(Network(folder, read_card(folder)), again=True)
    except NucsegError as error:
        typer.echo(f"devices: {error}")
        return False
    taken = in_order(found)[0]
    for each in found:
        speed = f"{each.speed:.1f} megapixels per second" if each.speed else "does not run"
        chosen = ", taken by --device auto" if each.candidate == taken else ""
        typer.echo(f"device {each.candidate}: {speed}{chosen}")
        if each.problem:
            typer.echo(f"  Not taken by itself: {each.problem}")
    return True


def _versions(packages: Sequence[str]) -> dict[str, str | None]:
    """Version of each package, by the name of the one that is there in its place."""
    found: dict[str, str | None] = {}
    for name in packages:
        here = next((each for each in (name, *_SAME.get(name, ())) if _version(each)), name)
        found[here] = _version(here)
    return found


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _check_run(run: Path) -> bool:
    from nucseg.training.logs import missing_curves, read_log
    from nucseg.training.run_folder import LOG

    contents = read_log(run)
    if not contents:
        typer.echo(f"There is no TensorBoard event file below {run}.")
        typer.echo(
            f"Expected {run / LOG}/train/events.out.tfevents.*: has the first epoch ended, "
            "and is this the folder given to `nucseg train -o`?"
        )
        return False
    for content in contents:
        typer.echo(
            f"{content.name}: {content.files} event file(s)"
            + (", with the graph" if content.graph else "")
        )
        for tag, points in sorted(content.scalars.items()):
            typer.echo(f"  curve {tag}: {points} point(s)")
        for tag, points in sorted(content.images.items()):
            typer.echo(f"  pictures {tag}: {points} time(s)")
    missing = missing_curves(contents)
    if missing:
        typer.echo(
            f"Missing curves: {', '.join(missing)}. They appear when an epoch has ended; "
            "a run that was cut off goes on with: nucseg train DATA -o RUN --resume"
        )
    log = (run / LOG if (run / LOG).is_dir() else run).resolve()
    typer.echo("\nTo look at it:  tensorboard --logdir " + str(log))
    typer.echo(
        "If TensorBoard shows nothing: give --logdir this very folder, not one of its parts; wait "
        "half a\nminute or press reload, since it reads new files every 30 seconds; clear the "
        "filter of runs at the\nleft; and if another TensorBoard holds the port, start this one "
        "with --port 6007."
    )
    return not missing
