"""The errors that nucseg raises, with messages that tell users what to do."""

from __future__ import annotations


class NucsegError(Exception):
    """Base class of all errors that nucseg raises."""


class InputError(NucsegError):
    """An image, a data set, an option or an output folder cannot be used."""


class ModelError(NucsegError):
    """A model, its weights or its model card cannot be used."""


class DeviceError(ModelError):
    """A device is not available, has no driver or not enough memory, or has failed."""


class MissingExtraError(NucsegError):
    """A feature needs packages of an optional extra that is not installed.

    Parameters
    ----------
    feature : str
        The requested feature, as the subject of a sentence.
    extra : str
        The extra that provides it.
    """

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(
            f"{feature} needs packages that are not installed. "
            f'Install them with: pip install "nucseg[{extra}]"'
        )


def first_line(error: Exception) -> str:
    """Return the first line of an error message of a library."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
