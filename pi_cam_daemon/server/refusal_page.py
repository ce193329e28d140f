"""A refusal as a page: the same words for whoever sees it in a browser, and the gist of them in Korean."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from pathlib import Path
from string import Template

from pi_cam_daemon.server.refused import OTHERWISE, Reason


class RefusalPage:
    """Fills `web/refused.html`, which loads nothing: whoever is refused would be refused that too."""

    def __init__(self) -> None:
        text = (Path(__file__).parent / "web" / "refused.html").read_text("utf-8")
        self._template = Template(text)
        style = re.search("<style>(.*?)</style>", text, re.DOTALL)
        assert style
        digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
        self.headers = {
            "Content-Type": "text/html; charset=utf-8",
            "Content-Security-Policy": f"default-src 'self'; style-src 'sha256-{digest}'; frame-ancestors 'self'",
        }

    def body(self, text: str, reason: Reason | None) -> bytes:
        """The page for *text*: a title, and paragraphs with an empty line between them."""
        title, *paragraphs = html.escape(text, quote=False).split("\n\n")
        # what is to be copied into the configuration keeps its lines
        more = [f"<pre>{one}</pre>" if one.startswith("[") else f"<p>{one}</p>" for one in paragraphs]
        korean_title, korean = (reason.korean_title, reason.korean) if reason else OTHERWISE
        page = self._template.substitute(title=title, more="\n".join(more), korean_title=korean_title, korean=korean)
        return page.encode()
