"""The errors that nucseg raises on purpose, each a message that a user can act on."""

from __future__ import annotations


class NucsegError(Exception):
    """Base of every error that nucseg raises on purpose."""


class InputError(NucsegError):
    """An image, a data set, an option or an output folder cannot be used as it is."""


class ModelError(NucsegError):
    """A model, its weights or its description cannot be used as it is."""


class DeviceError(ModelError):
    """A device that networks run on is missing, lacks its driver or its memory, or has failed."""


class MissingExtraError(NucsegError):
    """A feature needs packages of an optional extra that is not installed.

    Parameters
    ----------
    feature : str
        What was asked for, as the subject of a sentence.
    extra : str
        The extra that brings it.
    """

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(
            f"{feature} needs packages that are not installed. "
            f'Install them with: pip install "nucseg[{extra}]"'
        )


def first_line(error: Exception) -> str:
    """First line of what a library says; some say much more."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
