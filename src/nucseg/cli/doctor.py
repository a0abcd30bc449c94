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
# Packages that provide the same module as another; one of them is enough.
_SAME = {"onnxruntime": ("onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino")}


def doctor(
    run: Annotated[
        Path | None,
        typer.Argument(
            metavar="RUN", help="Folder of a training run; without it, check the installation."
        ),
    ] = None,
) -> None:
    """Check the installation, or the TensorBoard log of a training run.

    For the installation, it also lists the available devices, their speed, and which one is
    selected: the fastest that finds the same nuclei in samples as the CPU in f32.

    The exit status is 1 if there are problems.

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
                f'  Missing: {", ".join(missing)}. To install: pip install "nucseg[{extra}]"'
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
    """Print the devices for the default model; false if it does not even run on the CPU."""
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
        chosen = ", selected by --device auto" if each.candidate == taken else ""
        typer.echo(f"device {each.candidate}: {speed}{chosen}")
        if each.problem:
            typer.echo(f"  Not selected automatically: {each.problem}")
    return True


def _versions(packages: Sequence[str]) -> dict[str, str | None]:
    """Version of each package, by the name of the package installed in its place."""
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
        typer.echo(f"There are no TensorBoard event files in {run} or its subfolders.")
        typer.echo(
            f"Expected {run / LOG}/train/events.out.tfevents.*: has the first epoch finished, "
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
            typer.echo(f"  images {tag}: {points} step(s)")
    missing = missing_curves(contents)
    if missing:
        typer.echo(
            f"Missing curves: {', '.join(missing)}. They appear after the first epoch; "
            "to continue an interrupted run: nucseg train DATA -o RUN --resume"
        )
    log = (run / LOG if (run / LOG).is_dir() else run).resolve()
    typer.echo("\nTo view the log:  tensorboard --logdir " + str(log))
    typer.echo(
        "If TensorBoard shows nothing: give --logdir exactly this folder, not a subfolder; wait "
        "half a\nminute or press reload, because it reads new files every 30 seconds; clear the "
        "filter of runs at the\nleft; and if another TensorBoard uses the port, start this one "
        "with --port 6007."
    )
    return not missing
