"""Refusals: the exception for a request that is not served, and the reasons for it."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from http import HTTPStatus

from pi_cam_daemon.config.addresses import LOCAL
from pi_cam_daemon.config.text import toml

_RETRY_SECONDS = 2
_NO_REASON = "other"  # X-Refused where the request itself is wrong, or the camera cannot do it now

OTHERWISE = "요청을 처리할 수 없습니다", "영상은 카메라 페이지에 있습니다."
_PROXY = (
    "프록시가 누구를 대신하는지 알 수 없습니다",
    "카메라 주인이 영어 설명대로 trusted_proxies나 프록시의 헤더를 고쳐야 합니다.",
)
_FULL = "접속이 가득 찼습니다", "잠시 뒤에 다시 시도하세요."


class Reason(enum.Enum):
    """Reasons for a refusal.

    Each has the label of the metric and of X-Refused, the status, the setting of [http] that governs it ("": none, and
    neither a count nor a line in the log), and the Korean title and text of the page. {seconds} in a text is the time
    until the next attempt. The English text is that of the exception.
    """

    # fmt: off
    NETWORK = ("network", 403, "allowed_networks", "허용되지 않은 기기입니다",
               "카메라와 같은 네트워크에서 여세요. 다른 곳에서 보려면 카메라 주인에게 문의하세요. "
               "주인이 바꿀 설정은 영어 설명에 있습니다.")
    PROXY = "proxy", 403, "trusted_proxies", *_PROXY
    PROXY_HEADER = "proxy", 400, "trusted_proxies", *_PROXY
    HOST = ("host", 421, "allowed_hosts", "카메라가 이 이름으로는 응답하지 않습니다",
            "IP 주소로 여세요. 이름이 맞다면 카메라 주인에게 문의하세요. 주인이 바꿀 설정은 영어 설명에 있습니다.")
    ORIGIN = ("origin", 403, "cors_origins", "다른 사이트가 보낸 요청은 받지 않습니다",
              "카메라 주인이 그 사이트를 cors_origins에 넣어야 합니다.")
    MAX_CONNECTIONS = "max_connections", 503, "max_connections", *_FULL
    MAX_CONNECTIONS_PER_ADDRESS = ("max_connections_per_address", 429, "max_connections_per_address",
                                   "이 기기의 접속이 가득 찼습니다",
                                   "이 카메라를 보여 주는 다른 탭이나 프로그램을 닫고 다시 시도하세요.")
    MAX_VIEWERS = "max_viewers", 503, "max_viewers", "자리가 없습니다", "누군가 나간 뒤에 다시 시도하세요."
    MAX_VIEWERS_PER_ADDRESS = ("max_viewers_per_address", 429, "max_viewers_per_address",
                               "이 기기에서 열 수 있는 영상을 모두 쓰고 있습니다",
                               "이 카메라를 보여 주는 다른 탭이나 프로그램을 닫고 다시 시도하세요.")
    MAX_TLS_VIEWERS = ("max_tls_viewers", 503, "max_tls_viewers", "암호화된 접속에는 자리가 없습니다",
                       "누군가 나간 뒤에 다시 시도하세요.")
    MAX_EVENT_STREAMS = ("max_event_streams", 503, "max_event_streams", "이벤트를 받는 자리가 없습니다",
                         "누군가 나간 뒤에 다시 시도하세요.")
    THREADS = "threads", 503, "max_connections", *_FULL
    PASSWORD = ("password", 401, "users_file", "로그인이 필요합니다",
                "이름과 비밀번호는 카메라 주인에게 받으세요.")
    LOCKOUT = ("lockout", 429, "users_file", "틀린 비밀번호가 너무 많았습니다",
               "{seconds}초 뒤에 다시 시도하세요. 그동안은 맞는 비밀번호도 확인하지 않습니다.")
    ROLE = "role", 403, "users_file", "이 계정으로는 바꿀 수 없습니다", "관리자 계정으로 로그인하세요."
    LOGINS = ("logins", 503, "users_file", "지금 로그인하는 사람이 너무 많습니다", "잠시 뒤에 다시 시도하세요.")
    TLS = ("tls", 400, "tls_certificate", "이 주소는 https로 열어야 합니다",
           "주소 앞의 http를 https로 바꾸세요.")
    PICTURE = "picture", 503, "", "지금은 영상이 없습니다", "이유는 카메라 페이지에 있습니다."
    # fmt: on

    def __init__(self, label: str, status: int, key: str, *korean: str) -> None:
        self.label = label
        self.status = HTTPStatus(status)
        self.key = key
        self.korean_title, self.korean = korean


class Refused(Exception):
    """The request is not served, and *text* is the answer.

    *why* is a reason, or only a status where the request itself is wrong. *client* is the client's address if it is not
    the peer's. *seconds* is the time after which another attempt makes sense. *setting* is a line of the configuration
    that would prevent the refusal; it is for the owner only.
    """

    setting = ""

    def __init__(self, why: Reason | HTTPStatus, text: str, client: str = "", seconds: int = _RETRY_SECONDS) -> None:
        super().__init__(text)
        self.reason = why if isinstance(why, Reason) else None
        self.status = why.status if isinstance(why, Reason) else why
        self.text = text
        self.client = client
        self.seconds = seconds

    @classmethod
    def unless_set(
        cls, why: Reason, wrong: str, advice: str, key: str, present: Sequence[str], entry: str, client: str = ""
    ) -> Refused:
        """Return a refusal that *entry* in the list *key* of [http] would prevent; *present* are its entries now.

        The answer shows the list only as it is installed. Another one names hosts and networks of the owner, which are
        no business of a stranger, so it is for the log.
        """
        setting = f"{key} = {toml([*present, entry])}"
        shown = setting if set(present) <= {LOCAL} else f'{key} = [..., "{entry}"]'
        text = (
            f"{wrong}\n\n{advice} in the configuration, as in\n\n[http]\n{shown}\n\n"
            "The camera's log has the whole line, the file that it belongs to, and the command for the reload."
        )
        refused = cls(why, text, client)
        refused.setting = setting
        return refused

    @property
    def headers(self) -> dict[str, str]:
        """Return the header fields that say when to try again, or how to log in.

        X-Refused is for the page. It also tells a refusal of the camera from one of a proxy before it.
        """
        fields = {"X-Refused": self.reason.label if self.reason else _NO_REASON}
        if self.status in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS):
            fields["Retry-After"] = str(self.seconds)
        elif self.status is HTTPStatus.UNAUTHORIZED:
            fields["WWW-Authenticate"] = 'Basic realm="pi-cam-daemon", charset="UTF-8"'
        return fields
