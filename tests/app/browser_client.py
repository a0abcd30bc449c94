"""A browser for the tests of the server, and images to send."""

import io
from typing import Any

import numpy as np
import PIL.Image
from fastapi.testclient import TestClient

ADDRESS = "http://127.0.0.1:8765"


def nuclei_image() -> np.ndarray:
    """Three bright nuclei: 49 pixels, 96, and 12 at the right edge."""
    image = np.random.default_rng(0).integers(0, 90, (24, 40), np.uint8)
    image[2:9, 3:10] = image[12:20, 20:32] = image[3:7, 37:] = 250
    return image


def png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


class Browser(TestClient):
    """A client with a session of its own."""

    def __init__(self, app: Any, address: str = ADDRESS) -> None:
        super().__init__(
            app, base_url=address, headers={"origin": address}, raise_server_exceptions=False
        )

    def begin(self) -> dict[str, Any]:
        return self.post("/api/session").json()

    def upload(self, name: str = "a.png", data: bytes | None = None) -> dict[str, Any]:
        data = png(nuclei_image()) if data is None else data
        reply = self.post("/api/images", params={"name": name}, content=data)
        assert reply.status_code == 200, reply.text
        return reply.json()

    def open(self, name: str = "a.png", data: bytes | None = None, **run: Any) -> dict[str, Any]:
        image = self.upload(name, data)
        reply = self.post(f"/api/images/{image['id']}/segment", json=run)
        assert reply.status_code == 200, reply.text
        return reply.json()
