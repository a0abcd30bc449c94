"""Access control against other web sites and other users of the network."""

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

# Content security policy: no connection to other hosts.
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
# Routes that receive image files, whose size is counted on receipt; other bodies stay in memory.
_UPLOADS = ("/api/images", "/api/batch/files")
_LARGEST_BODY = 16 * 2**20


def token_for(host: str, given: str | None) -> str | None:
    """Return the token that the address of the page has to contain.

    Parameters
    ----------
    host : str
        Host name or address of the server.
    given : str or None
        Token from the settings, if any.

    Returns
    -------
    str or None
        `given`; if it is None, a random token if other computers can reach the server, and None
        if only this computer can.
    """
    return given or (None if is_loopback(host) else secrets.token_urlsafe(32))


def is_loopback(host: str) -> bool:
    """Return whether only this computer can reach a server at a host name or address."""
    try:
        found = {str(each[4][0]) for each in socket.getaddrinfo(host, None)}
        return bool(found) and all(ipaddress.ip_address(each).is_loopback for each in found)
    except (OSError, ValueError):
        return False


class Guard:
    """Middleware that rejects requests that do not come from the app's own page.

    A site whose name is made to resolve to this computer (DNS rebinding) is recognized by the
    header ``Host``. A form or a script of another site (cross-site request forgery) is recognized
    by ``Origin`` and ``Sec-Fetch-Site``. Browsers let no page change these headers.

    If there is a token, each request has to contain it: the first request in its address, the
    later ones in a cookie, which no page under another name has. The server may then have any host
    name, such as that of a proxy.

    Parameters
    ----------
    app : ASGI application
    host : str
        Address of the server.
    token : str, optional
        See `token_for`.
    """

    def __init__(self, app: ASGIApp, host: str, token: str | None = None) -> None:
        self._app = app
        self._names = {"localhost", host.lower(), socket.gethostname().lower()}
        self._token = token
        # Browsers send cookies to other ports too, so the cookie does not contain the token itself.
        self._pass = secrets.token_urlsafe(32)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or reject it."""
        if scope["type"] != "http":
            # There are no websocket routes, and no websocket is accepted unchecked.
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
        """Return why a request is rejected; empty if it is accepted."""
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
        """Return whether a host is an address of this computer, which cannot be rebound."""
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name.lower() in self._names
        return True

    def _has_pass(self, headers: Headers, host: SplitResult | None) -> bool:
        """Return whether a request needs no token, or has the cookie that replaces it."""
        cookies = cookie_parser(headers.get("cookie", ""))
        return self._token is None or _same(cookies.get(_cookie(host), ""), self._pass)


def _parsed(host: str) -> SplitResult | None:
    """Parse the header ``Host``; None if it is invalid."""
    try:
        parts = urlsplit(f"//{host}")
        usable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return None
    return parts if usable else None


def _cookie(host: SplitResult | None) -> str:
    """Return the name of the cookie; it contains the port, because browsers ignore ports."""
    return f"nucseg-token-{(host and host.port) or 80}"


def _token_in(scope: Scope) -> str:
    query: bytes = scope["query_string"]
    return parse_qs(query.decode("latin-1")).get("token", [""])[0]


def _same(given: str, expected: str) -> bool:
    """Compare secrets in constant time."""
    return secrets.compare_digest(given.encode(errors="replace"), expected.encode())


def _refused(refusal: str, headers: Headers) -> Response:
    """Make the response to a rejected request: text for people, JSON for the page."""
    if "text/html" in headers.get("accept", ""):
        return PlainTextResponse(refusal, status_code=403)
    return JSONResponse({"error": refusal}, status_code=403)


def _limited(scope: Scope, receive: Receive) -> Receive:
    """Stop reading bodies that are larger than any request of the page, except image files."""
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
