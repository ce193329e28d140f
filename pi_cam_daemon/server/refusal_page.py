"""The page that a browser gets in place of what is refused, in English and Korean: the visitor's language first."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Sequence
from pathlib import Path
from string import Template

from pi_cam_daemon.server.refused import OTHERWISE, Reason, Refused

_LANGUAGES = ("en", "ko")  # the first one is for everybody who wishes none of them
_RETRY = {"en": "Try again", "ko": "다시 시도"}
_LOG_IN = {"en": "Log in", "ko": "로그인"}
_HOME = {"en": "Camera page", "ko": "카메라 페이지"}
# the camera's page is served although these are refused
_ELSEWHERE = (None, Reason.PICTURE, Reason.MAX_VIEWERS, Reason.MAX_VIEWERS_PER_ADDRESS, Reason.MAX_TLS_VIEWERS)
_FINAL = (None, Reason.TLS)  # the same request is refused again
# one entry of Accept-Language (RFC 9110, section 12.5.4): the language without its region, and its weight
_WISH = re.compile(r"\s*([A-Za-z]+)(?:-[A-Za-z0-9-]*)?\s*(?:;\s*[qQ]\s*=\s*([01](?:\.[0-9]{0,3})?))?\s*")
_CODE = re.compile("`([^`\n]+)`")  # commands and names in a sentence
_TAG = re.compile("</?code>")


def language(setting: str, accepted: Sequence[str] = (), wish: str = "") -> str:
    """Return "en" or "ko": the *wish* of `?lang=`, else the *setting* page.language, else the browser's language.

    *accepted* are the values of Accept-Language. The camera's page chooses in the same order.
    """
    for fixed in (wish[:2].lower(), setting):
        if fixed in _LANGUAGES:
            return fixed
    weights: dict[str, float] = {}
    for entry in ",".join(accepted).split(","):
        if (match := _WISH.fullmatch(entry)) and (name := match[1].lower()) in _LANGUAGES:
            weights[name] = max(weights.get(name, 0.0), float(match[2] or 1))
    return max(filter(weights.get, weights), key=weights.__getitem__, default=_LANGUAGES[0])


class RefusalPage:
    """Fills in `web/refused.html`. The page loads no other files, because they would be refused, too."""

    def __init__(self) -> None:
        text = Path(__file__).with_name("web").joinpath("refused.html").read_text("utf-8")
        self._template = Template(text)
        style = re.search("<style>(.*?)</style>", text, re.DOTALL)
        assert style
        digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
        self.headers = {
            "Content-Type": "text/html; charset=utf-8",
            "Content-Security-Policy": f"default-src 'self'; style-src 'sha256-{digest}'; frame-ancestors 'self'",
        }

    def body(self, refused: Refused, language: str, home: str = "") -> bytes:
        """Return the page for *refused*: in *language*, and below smaller in the other one, which may be the right one.

        *home* is the relative address of the camera's page, "" if it is unknown.
        """
        title, paragraphs = _english(refused.text)
        parts = {"en": (title, paragraphs), "ko": _korean(refused)}
        links = {name: _links(refused.reason, name, home) for name in _LANGUAGES}
        other = next(name for name in _LANGUAGES if name != language)
        page = self._template.substitute(
            language=language,
            title=_TAG.sub("", parts[language][0]),
            heading=parts[language][0],
            text=parts[language][1],
            links=links[language],
            other_language=other,
            other_title=parts[other][0],
            other_text=parts[other][1],
            other_links=links[other],
        )
        return page.encode()


def _english(text: str) -> tuple[str, str]:
    """Return title and paragraphs of *text*, in which empty lines separate them, as HTML."""
    title, *paragraphs = _CODE.sub(r"<code>\1</code>", html.escape(text, quote=False)).split("\n\n")
    # lines of the configuration file keep their line breaks
    return title, "\n".join(f"<pre>{one}</pre>" if one.startswith("[") else f"<p>{one}</p>" for one in paragraphs)


def _korean(refused: Refused) -> tuple[str, str]:
    title, text = (refused.reason.korean_title, refused.reason.korean) if refused.reason else OTHERWISE
    return title, f"<p>{text.format(seconds=refused.seconds)}</p>"


def _links(reason: Reason | None, language: str, home: str) -> str:
    """Return the links that may help. Their addresses are relative: a proxy may serve the camera below a path."""
    links = []
    if reason not in _FINAL:
        # the empty address is that of the refused request; a browser then asks for name and password again
        links.append(("", (_LOG_IN if reason is Reason.PASSWORD else _RETRY)[language]))
    if home and reason in _ELSEWHERE:
        links.append((home, _HOME[language]))
    return "\n".join(f'<a href="{address}">{name}</a>' for address, name in links)
