"""The key to the page: other users of this machine reach its port too, and must neither see nor hear the recordings.

The address that the terminal shows holds a random token. Whoever opens it gets a cookie with another random value,
which no script reads and no other site's request carries, and with which everything else is answered. Both are new
with every start.

Source: Jupyter Server, "Security in the Jupyter Server" (token authentication); RFC 6265bis, section 5.2 (SameSite).
"""

import secrets
from pathlib import Path
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.responses import HTMLResponse, Response
from starlette.types import Scope

LOOK = "/static/style.css"  # the one file that everybody gets: the page for those without the key uses it
HEAD = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>auscult</title><link rel="icon" href="data:,">'
)
CLOSED = f"""{HEAD}<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><link rel="stylesheet" href="{LOOK}"></head>
<body><header class="top"><span class="brand">auscult</span></header>
<main><section class="card"><h1>This page needs its key</h1>
<p>Open the address that the terminal shows, all of it: the key follows <code>?token=</code>, and is new each time
<code>auscult serve</code> is started.</p></section></main></body></html>
"""


def away(address: str) -> str:
    """A page that leads on at once."""
    return f"""{HEAD}<meta http-equiv="refresh" content="0; url={address}"></head>
<body><main><p><a href="{address}">Open the page</a></p></main></body></html>
"""


class Key:
    """Who may ask.

    Args:
        port: of this server; cookies of one host are sent to all of its ports, so it is in the cookie's name.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.token, self._value = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        self.cookie = f"auscult-{port}"

    @property
    def address(self) -> str:
        """What opens the page."""
        return f"http://127.0.0.1:{self.port}/?token={self.token}"

    def held(self, headers: Headers) -> bool:
        """Whether a request carries the cookie."""
        return same(cookie_parser(headers.get("cookie", "")).get(self.cookie, ""), self._value)

    def door(self, scope: Scope, headers: Headers) -> Response | None:
        """What a GET of ``/`` gets instead of the page; None where it may have the page.

        A browser does not send the cookie when a link elsewhere led here. It sends it when a page of ours leads on, so
        such a request is sent on once by a page of ours.
        """
        tokens = parse_qs(scope["query_string"].decode("latin-1")).get("token", [])
        if tokens and same(tokens[-1], self.token):
            return self._opened()
        if not tokens and self.held(headers):
            return None
        if not tokens and headers.get("sec-fetch-site") in ("cross-site", "same-site"):
            return HTMLResponse(away("/"))
        return HTMLResponse(CLOSED, 403)

    def _opened(self) -> Response:
        answer = HTMLResponse(away("/"))
        answer.set_cookie(self.cookie, self._value, httponly=True, samesite="strict")
        return answer

    def leave_at(self, file: Path) -> str:
        """Writes a page that leads to the address and that this user alone can read; gives its own address.

        A browser is opened with it, as the words a program is started with are seen by everybody on a machine.
        """
        file.touch(mode=0o600, exist_ok=False)
        file.write_text(away(self.address), encoding="utf-8")
        return file.as_uri()


def same(given: str, right: str) -> bool:
    """Whether two secrets are equal, in a time that does not depend on how much of them is."""
    return secrets.compare_digest(given.encode(), right.encode())
