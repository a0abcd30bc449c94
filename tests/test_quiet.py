import os

import pytest

from nucseg.errors import MissingExtraError
from nucseg.quiet import import_tensorflow, without_native_notes


def test_native_notes_are_hidden_and_later_errors_are_not(capfd):
    with without_native_notes():
        os.write(2, b"note about the machine\n")
    os.write(2, b"error\n")
    assert capfd.readouterr().err == "error\n"


def test_an_error_inside_brings_standard_error_back(capfd):
    with pytest.raises(ValueError, match="inside"), without_native_notes():
        raise ValueError("inside")
    os.write(2, b"error\n")
    assert capfd.readouterr().err == "error\n"


def test_notes_before_an_error_are_shown(capfd):
    with pytest.raises(ValueError, match="inside"), without_native_notes():
        os.write(2, b"no memory left\n")
        raise ValueError("inside")
    assert capfd.readouterr().err == "no memory left\n"


def test_a_missing_tensorflow_is_explained(monkeypatch):
    def absent(name):
        raise ImportError(name)

    monkeypatch.setattr("nucseg.quiet.import_module", absent)
    with pytest.raises(MissingExtraError, match=r'pip install "nucseg\[train\]"'):
        import_tensorflow()
