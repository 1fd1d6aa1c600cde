"""What stands before every request of the local server: who may ask, how much may be sent, what a browser may do.

A page of another site can reach 127.0.0.1 through the user's browser. So the Host must be ours (a foreign name that
resolves to 127.0.0.1 is refused), and Origin and Sec-Fetch-Site, which no script can forge, must not name another site.
Another user of the machine can reach it too, so whoever asks must hold the key of `key.Key`. A body is counted while it
comes in, whatever Content-Length says, and must not come too slowly. Every answer, also a refusal, carries the headers
that keep scripts, frames and caches of others away. An answer to a mistake is JSON ``{code, message}``, never a
traceback; what went wrong inside is told to the terminal.

Source: OWASP, "Cross-Site Request Forgery Prevention" and "HTTP Headers"; W3C, Fetch Metadata.
"""

import logging

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .key import LOOK, Key

STALL_S = 60.0  # a sender that is silent for so long is given up
SLOWEST = 2**16  # bytes a second that a sender keeps up, once STALL_S have passed
SMALL_BYTES = 8 * 2**20  # of any body but an upload; a review of 20,000 breaths takes 3
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "media-src 'self' blob:; connect-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(self)",
    "cache-control": "no-store",
}
log = logging.getLogger("auscult.web")


class Refused(HTTPException):
    """A request that is answered with an error.

    Args:
        status: of HTTP.
        code: a stable name, ``E_...``.
        message: what is wrong and what to do next; shown to the user.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(status, message)
        self.code, self.message = code, message

    def answer(self) -> JSONResponse:
        """What the browser gets."""
        return problem(self.status_code, self.code, self.message)


def problem(status: int, code: str, message: str) -> JSONResponse:
    """An error as JSON."""
    return JSONResponse({"code": code, "message": message}, status)


class Guard:
    """ASGI middleware around the whole application.

    Args:
        app: what is protected.
        key: that opens it.
        port: of this server; with it the only hosts are ``127.0.0.1:PORT`` and ``localhost:PORT``.
        max_bytes: of the body of an upload.
        upload: the path that takes uploads; bodies elsewhere are small.
    """

    def __init__(self, app: ASGIApp, key: Key, port: int, max_bytes: int, upload: str) -> None:
        self.app, self.key, self.max_bytes, self.upload = app, key, max_bytes, upload
        self.hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        async def answer(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        try:
            self.check(scope)
            if (door := self.door(scope)) is not None:
                await door(scope, receive, answer)
                return
            await self.app(scope, self.counted(scope, receive), answer)
        except ClientDisconnect:
            return
        except Refused as refused:
            if started:
                raise
            await refused.answer()(scope, receive, answer)
        except Exception:
            log.exception("%s %s failed", scope["method"], scope["path"])
            if not started:
                words = "something went wrong inside the server; the terminal that runs it says what."
                await problem(500, "E_SERVER", words)(scope, receive, answer)

    def check(self, scope: Scope) -> None:
        """Refuses requests of other sites and bodies that say they are too large.

        Raises:
            Refused: 421 for a foreign Host, 403 for another site, 413.
        """
        headers = Headers(scope=scope)
        host = headers.getlist("host")
        if len(host) != 1 or host[0].lower() not in self.hosts:
            raise Refused(421, "E_HOST", f"this server answers at {' and '.join(sorted(self.hosts))} only.")
        origin = headers.get("origin", f"http://{host[0]}")
        if origin.lower() != f"http://{host[0].lower()}" or not self.own_site(scope, headers):
            raise Refused(403, "E_ORIGIN", "a page of another site asked; open the address of this server itself.")
        length = headers.get("content-length", "0")
        if not length.isascii() or not length.isdigit() or len(length) > 18 or int(length) > self.limit(scope):
            raise self.too_large(scope)

    def door(self, scope: Scope) -> Response | None:
        """The answer to who comes with the address of the page, with its token or without its cookie; None for others.

        Raises:
            Refused: 403 for who does not hold the key.
        """
        headers = Headers(scope=scope)
        if scope["method"] == "GET" and scope["path"] == "/":
            return self.key.door(scope, headers)
        if scope["method"] == "GET" and scope["path"] == LOOK:
            return None
        if not self.key.held(headers):
            raise Refused(
                403, "E_TOKEN", "open the address that `auscult serve` shows in its terminal, with its token."
            )
        return None

    def own_site(self, scope: Scope, headers: Headers) -> bool:
        """Whether the browser says that our page asks, or the user. A link elsewhere may open the page, and no more."""
        if headers.get("sec-fetch-site", "none") in ("same-origin", "none"):
            return True
        return scope["method"] == "GET" and scope["path"] == "/" and headers.get("sec-fetch-mode") == "navigate"

    def limit(self, scope: Scope) -> int:
        """Bytes that a body may have."""
        upload = scope["method"] == "POST" and scope["path"] == self.upload
        return self.max_bytes if upload else min(SMALL_BYTES, self.max_bytes)

    def too_large(self, scope: Scope) -> Refused:
        """The refusal of a body."""
        limit = self.limit(scope) / 2**20
        return Refused(
            413, "E_TOO_LARGE", f"more than {limit:,.3g} MiB was sent; cut the recording into shorter files."
        )

    def counted(self, scope: Scope, receive: Receive) -> Receive:
        """`receive` that counts the body and gives up a sender that stalls."""
        limit, ended, began = self.limit(scope), False, anyio.current_time()
        left = limit

        async def counting() -> Message:
            nonlocal left, ended
            if ended:
                return await receive()
            late = began + STALL_S + (limit - left) / SLOWEST
            with anyio.move_on_after(min(STALL_S, late - anyio.current_time())) as waiting:
                message = await receive()
            if waiting.cancelled_caught:
                raise Refused(408, "E_SLOW", f"hardly anything came for {STALL_S:g} s; send it again.")
            left -= len(message.get("body", b""))
            ended = message["type"] != "http.request" or not message.get("more_body", False)
            if left < 0:
                raise self.too_large(scope)
            return message

        return counting
