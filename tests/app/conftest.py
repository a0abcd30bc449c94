import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser_client import Browser

from nucseg.app.server import create_app
from nucseg.config import App
from nucseg.inference.loading import load_model
from nucseg.inference.segmenter import Model


@pytest.fixture(scope="session")
def model(bright_model: Path) -> Model:
    return load_model(bright_model)


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder in which the app makes its own."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def browser(model: Model) -> Iterator[Browser]:
    app = create_app(model, App(model="bright", max_upload=0.1, max_images=3, max_batch=3))
    with Browser(app) as client:
        client.begin()
        yield client
