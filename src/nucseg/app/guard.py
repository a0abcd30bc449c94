"""What keeps other web sites, and other users of the network, out."""

from __future__ import annotations

import ipaddress
import secrets
import socket
from urllib.parse import SplitResult, parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import cookie_parser
from starlette.responses import JSONResponse, PlainTextResponse, Response
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
# What brings image files, which are counted as they come; all other bodies are held in memory.
_UPLOADS = ("/api/images", "/api/batch/files")
_LARGEST_BODY = 16 * 2**20


def token_for(host: str, given: str | None) -> str | None:
    """Decide on the word that the address of the page has to hold.

    Parameters
    ----------
    host : str
        Name or address that the server listens at.
    given : str or None
        The word that was chosen, if one was.

    Returns
    -------
    str or None
        What was given; else a random one where other computers may reach the server, and none
        where this computer alone does.
    """
    return given or (None if is_loopback(host) else secrets.token_urlsafe(32))


def is_loopback(host: str) -> bool:
    """Whether this computer alone reaches a server that listens at a name or an address."""
    try:
        found = {str(each[4][0]) for each in socket.getaddrinfo(host, None)}
        return bool(found) and all(ipaddress.ip_address(each).is_loopback for each in found)
    except (OSError, ValueError):
        return False


class Guard:
    """Middleware that refuses what does not come from the app's own page.

    A site whose name is made to point to this computer (DNS rebinding) gives itself away by the
    header ``Host``, one that sends a form or a script's request (cross-site request forgery) by
    ``Origin`` and ``Sec-Fetch-Site``; browsers let no page change these.

    With a token each request has to bring it: the first in the address, the later ones by a
    cookie, which no page under another name has. The server may then be called by any name, such
    as that of a proxy.

    Parameters
    ----------
    app : ASGI application
    host : str
        Address that the server listens at.
    token : str, optional
        See `token_for`.
    """

    def __init__(self, app: ASGIApp, host: str, token: str | None = None) -> None:
        self._app = app
        self._names = {"localhost", host.lower(), socket.gethostname().lower()}
        self._token = token
        # Cookies are sent to other ports of the computer too, so that it does not hold the token.
        self._pass = secrets.token_urlsafe(32)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            # No route is a websocket, and none is let through without a look.
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        host = _parsed(headers.get("host", ""))
        by_address = self._token is not None and _same(_token_in(scope), self._token)
        refusal = (
            "This address is not the app's. Open the one that nucseg app printed."
            if host is None
            else self._refusal(scope["method"], scope["path"], headers, host)
        )
        if not refusal and not by_address and not self._has_pass(headers, host):
            refusal = (
                "This app needs its token. Open the whole address, with ?token=…, that nucseg app "
                "printed in the terminal where it was started."
            )

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer_headers = MutableHeaders(scope=message)
                answer_headers.update(_HEADERS)
                answer_headers.setdefault(
                    "Cache-Control", "no-store" if _is_api(scope) else "no-cache"
                )
                if by_address and not refusal:
                    cookie = f"{_cookie(host)}={self._pass}; HttpOnly; Path=/; SameSite=strict"
                    answer_headers.append("Set-Cookie", cookie)
            await send(message)

        answer = _refused(refusal, headers) if refusal else self._app
        await answer(scope, _limited(scope, receive), send_with_headers)

    def _refusal(self, method: str, path: str, headers: Headers, host: SplitResult) -> str:
        """Why a request is refused; empty where it is not."""
        if self._token is None and not self._is_own(host.hostname or ""):
            return "This address is not the app's. Open the one that nucseg app printed."
        origin = headers.get("origin")
        site = headers.get("sec-fetch-site", "none")
        foreign = site not in ("none", "same-origin") and path.startswith(_API)
        if foreign or (origin is not None and urlsplit(origin).netloc != host.netloc):
            return "This request comes from another site."
        if method not in _SAFE and origin is None:
            return "This request does not say where it comes from. Use the app's own page."
        return ""

    def _is_own(self, name: str) -> bool:
        """Whether a host is named as this computer is: by its address, which no one can rebind."""
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name.lower() in self._names
        return True

    def _has_pass(self, headers: Headers, host: SplitResult | None) -> bool:
        """Whether a request needs no token, or brings the cookie that stands for it."""
        cookies = cookie_parser(headers.get("cookie", ""))
        return self._token is None or _same(cookies.get(_cookie(host), ""), self._pass)


def _parsed(host: str) -> SplitResult | None:
    """Take the header ``Host`` apart; None where it is none."""
    try:
        parts = urlsplit(f"//{host}")
        usable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return None
    return parts if usable else None


def _cookie(host: SplitResult | None) -> str:
    """Name of the cookie; browsers send it to all ports, so that the port is in the name."""
    return f"nucseg-token-{(host and host.port) or 80}"


def _token_in(scope: Scope) -> str:
    query: bytes = scope["query_string"]
    return parse_qs(query.decode("latin-1")).get("token", [""])[0]


def _same(given: str, expected: str) -> bool:
    """Compare secrets in a time that does not tell how much of them is right."""
    return secrets.compare_digest(given.encode(errors="replace"), expected.encode())


def _refused(refusal: str, headers: Headers) -> Response:
    """Answer a person with the sentence alone, and the page as it expects."""
    if "text/html" in headers.get("accept", ""):
        return PlainTextResponse(refusal, status_code=403)
    return JSONResponse({"error": refusal}, status_code=403)


def _limited(scope: Scope, receive: Receive) -> Receive:
    """Stop reading a body that is larger than any that the page sends, but for image files."""
    if scope["path"] in _UPLOADS:
        return receive
    size = 0

    async def receive_so_much() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > _LARGEST_BODY:
            raise HTTPException(413, f"This request is too large: at most {_LARGEST_BODY} bytes.")
        return message

    return receive_so_much


def _is_api(scope: Scope) -> bool:
    return bool(scope["path"].startswith(_API))
