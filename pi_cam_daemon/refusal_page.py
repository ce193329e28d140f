"""A refusal as a page: the same words for whoever sees it in a browser, and the gist of them in Korean."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from pathlib import Path
from string import Template

# by the reason that a refusal is counted under
_KOREAN = {
    "network": (
        "이 주소에는 카메라 영상을 보내지 않습니다",
        "카메라와 같은 네트워크에서 열어 주세요. 카메라 주인은 위의 설정으로 이 주소를 허용할 수 있습니다.",
    ),
    "proxy": (
        "프록시가 누구를 대신하는지 알 수 없습니다",
        "카메라 주인이 위의 설명대로 trusted_proxies나 프록시의 헤더를 고쳐야 합니다.",
    ),
    "host": (
        "카메라가 이 이름으로는 응답하지 않습니다",
        "IP 주소로 열어 주세요. 이름이 맞다면 카메라 주인이 위의 설정으로 허용할 수 있습니다.",
    ),
    "max_viewers": ("더 이상 시청자를 받을 수 없습니다", "누군가 나가면 다시 열어 주세요."),
    "max_viewers_per_address": (
        "이 기기에서 열 수 있는 영상을 모두 쓰고 있습니다",
        "이 카메라를 보여 주는 다른 탭이나 프로그램을 닫고 다시 열어 주세요.",
    ),
    "max_tls_viewers": ("암호화된 연결로는 더 이상 시청자를 받을 수 없습니다", "누군가 나가면 다시 열어 주세요."),
    "max_connections": ("비어 있는 연결이 없습니다", "잠시 뒤에 다시 열어 주세요."),
    "max_connections_per_address": ("이 기기의 연결이 너무 많습니다", "다른 탭이나 프로그램을 닫고 다시 열어 주세요."),
    "password": (
        "이름과 비밀번호가 필요합니다",
        "이 카메라를 보려면 로그인해야 합니다. 계정은 카메라 주인이 만듭니다.",
    ),
    "lockout": ("틀린 비밀번호가 너무 많았습니다", "잠시 뒤에 다시 시도해 주세요."),
    "role": ("이 계정으로는 바꿀 수 없습니다", "관리자 계정으로 로그인해야 합니다."),
    "logins": ("지금 로그인하는 사람이 너무 많습니다", "잠시 뒤에 다시 열어 주세요."),
    "threads": ("비어 있는 연결이 없습니다", "잠시 뒤에 다시 열어 주세요."),
    "picture": ("지금은 영상이 없습니다", '이유는 <a href="/">카메라 페이지</a>에서 볼 수 있습니다.'),
}
_OTHERWISE = ("요청을 처리할 수 없습니다", '영상은 <a href="/">카메라 페이지</a>에 있습니다.')


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

    def body(self, text: str, reason: str) -> bytes:
        """The page for *text*: a title, and paragraphs with an empty line between them."""
        title, *paragraphs = html.escape(text, quote=False).split("\n\n")
        # what is to be copied into the configuration keeps its lines
        more = [f"<pre>{one}</pre>" if one.startswith("[") else f"<p>{one}</p>" for one in paragraphs]
        korean_title, korean = _KOREAN.get(reason, _OTHERWISE)
        page = self._template.substitute(title=title, more="\n".join(more), korean_title=korean_title, korean=korean)
        return page.encode()
