"""What keeps other web sites, and other users of the network, out."""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Nothing is loaded from elsewhere, and nothing is sent elsewhere.
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_SAFE = ("GET", "HEAD")
_API = "/api/"


class Guard:
    """Middleware that refuses what does not come from the app's own page.

    A site whose name is made to point to this computer (DNS rebinding) gives itself away by the
    header ``Host``, one that sends a form or a script's request (cross-site request forgery) by
    ``Origin`` and ``Sec-Fetch-Site``; browsers let no page change these.

    Parameters
    ----------
    app : ASGI application
    host : str
        Address that the server listens at.
    """

    def __init__(self, app: ASGIApp, host: str) -> None:
        self._app = app
        self._names = {"localhost", host.lower(), socket.gethostname().lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope["method"], scope["path"], Headers(scope=scope))

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(_HEADERS)
                headers.setdefault("Cache-Control", "no-store" if _is_api(scope) else "no-cache")
            await send(message)

        answer = JSONResponse({"error": refusal}, status_code=403) if refusal else self._app
        await answer(scope, receive, send_with_headers)

    def _refusal(self, method: str, path: str, headers: Headers) -> str:
        """Why a request is refused; empty where it is not."""
        host = headers.get("host", "")
        if not self._is_own(host):
            return "This address is not the app's. Open the one that nucseg app printed."
        origin = headers.get("origin")
        site = headers.get("sec-fetch-site", "none")
        foreign = site not in ("none", "same-origin") and path.startswith(_API)
        if foreign or (origin is not None and urlsplit(origin).netloc != host):
            return "This request comes from another site."
        if method not in _SAFE and origin is None:
            return "This request does not say where it comes from. Use the app's own page."
        return ""

    def _is_own(self, host: str) -> bool:
        """Whether a host is named as this computer is: by its address, which no one can rebind."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name.lower() in self._names
        return True


def _is_api(scope: Scope) -> bool:
    return bool(scope["path"].startswith(_API))
