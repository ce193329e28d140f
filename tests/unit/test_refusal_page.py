import re

import pytest

from pi_cam_daemon.server import answers
from pi_cam_daemon.server.refusal_page import RefusalPage, language
from pi_cam_daemon.server.refused import Reason, Refused

PAGE = RefusalPage()


@pytest.mark.parametrize(
    ("accepted", "expected"),
    [
        ([], "en"),
        ([""], "en"),
        (["ko"], "ko"),
        (["ko-KR,ko;q=0.9,en-US;q=0.8,en;q=0.7"], "ko"),
        (["en-US,en;q=0.9,ko;q=0.8"], "en"),
        (["en;q=0.2, KO ; q=0.8"], "ko"),
        (["en;q=0.5,ko-KP;Q=0.501"], "ko"),
        (["de-DE,de;q=0.9,ko;q=0.1"], "ko"),
        (["de,fr;q=0.5"], "en"),
        (["ko,en"], "ko"),
        (["en,ko"], "en"),
        (["ko;q=0"], "en"),
        (["ko;q=0,en;q=0"], "en"),
        (["ko;q=0.000,*"], "en"),
        (["*"], "en"),
        (["kok-IN"], "en"),
        (["de", "ko;q=0.5"], "ko"),
        (["ko;q=x,en;q=0.1"], "en"),
        (["ko;q=2", ";;,,=", "한국어", "ko_KR"], "en"),
        ([",".join(["ko" + "-a" * 100_000] * 3 + ["ko;" + " " * 100_000])], "ko"),
    ],
)
def test_the_language_is_the_one_that_the_browser_likes_best(accepted: list[str], expected: str) -> None:
    assert language("auto", accepted) == expected


@pytest.mark.parametrize(
    ("setting", "wish", "expected"),
    [("auto", "", "en"), ("ko", "", "ko"), ("ko", "en", "en"), ("en", "ko-KR", "ko"), ("ko", "de", "ko")],
)
def test_a_wish_comes_before_the_setting_and_the_setting_before_the_browser(
    setting: str, wish: str, expected: str
) -> None:
    assert language(setting, ["en" if expected == "ko" else "ko"] if setting != "auto" else (), wish) == expected


def text(refused: Refused, first: str, home: str = "./") -> str:
    return PAGE.body(refused, first, home).decode()


def test_commands_are_code_and_the_title_of_the_window_is_plain() -> None:
    page = text(Refused(Reason.PICTURE, "Run `<b>`\n\n`ls -l` shows `it"), "en")
    assert "<title>Run &lt;b&gt;</title>" in page and "<h1>Run <code>&lt;b&gt;</code></h1>" in page
    assert "<p><code>ls -l</code> shows `it</p>" in page


@pytest.mark.parametrize("reason", [None, *Reason])
def test_every_refusal_is_told_in_both_languages(reason: Reason | None) -> None:
    refused = Refused(reason or Reason.NETWORK.status, "No <b>\n\nAsk & wait\n\n[http]\nkey = 1", seconds=40)
    refused.reason = reason
    english, korean = text(refused, "en"), text(refused, "ko")
    for page, first, second in ((english, "en", "ko"), (korean, "ko", "en")):
        assert f'<html lang="{first}">' in page
        assert f'<section lang="{second}">' in page
        assert "<b>" not in page and "<p>Ask &amp; wait</p>\n<pre>[http]\nkey = 1</pre>" in page
        assert not re.search(r"[${}]\w", page.partition("<body>")[2]), "something is not filled in"
    assert "<h1>No &lt;b&gt;</h1>" in english and "<h2>No &lt;b&gt;</h2>" in korean
    assert re.search("<h1>[^<]*[가-힣]", korean) and re.search("<h2>[^<]*[가-힣]", english)


def test_a_lock_out_tells_its_seconds_in_both_languages() -> None:
    page = text(Refused(Reason.LOCKOUT, "Too many wrong passwords; try again in 40 s", seconds=40), "ko")
    assert "<p>40초 뒤에 다시 시도하세요." in page and "in 40 s" in page


def links(refused: Refused, home: str = "./") -> list[tuple[str, str]]:
    return re.findall('<a href="(.*?)">(.*?)</a>', text(refused, "en", home).partition("<section")[0])


def test_the_links_are_those_that_can_help() -> None:
    again, page = ("", "Try again"), ("../", "Camera page")
    assert links(Refused(Reason.PASSWORD, "Log in")) == [("", "Log in")]
    assert links(Refused(Reason.LOCKOUT, "Wait")) == [again]
    assert links(Refused(Reason.NETWORK, "No")) == [again]
    assert links(Refused(Reason.MAX_VIEWERS, "Full"), "../") == [again, page]
    assert links(Refused(Reason.MAX_VIEWERS, "Full"), "") == [again], "the address was not read"
    assert links(Refused(Reason.TLS.status, "There is no such page"), "../") == [page]
    assert links(Refused(Reason.TLS, "Use https")) == []


@pytest.mark.parametrize("target", ["/", "/stream", "/mjpeg/stream?fps=1", "/a/b/c", "//", "*", "http://camera/a/b"])
def test_no_link_leaves_the_path_of_a_proxy(target: str) -> None:
    page = text(Refused(Reason.PICTURE, "None"), "ko", answers.home(target))
    assert not re.search('(href|src)="(/|http)', page)
