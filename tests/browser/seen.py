"""Read what a page, or a tile of the wall, tells of its picture, in any browser, and wait for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.browser.looking import PIXELS
from tests.kit.wait import until

# of 192 pixels, how many have a strong colour: the test picture has many, and a card none
_COLOURS = """node => {
    const canvas = document.createElement("canvas");
    const context = Object.assign(canvas, {width: 16, height: 12}).getContext("2d");
    context.drawImage(node, 0, 0, 16, 12);
    const bytes = context.getImageData(0, 0, 16, 12).data;
    let strong = 0;
    for (let at = 0; at < bytes.length; at += 4) {
        const pixel = bytes.slice(at, at + 3);
        strong += Math.max(...pixel) - Math.min(...pixel) > 100;
    }
    return strong;
}"""

# kept in the element, since drivers keep variables of their scripts from each other
_KEEP_KEYS = """element => {
    const keep = () => { element.dataset.keys += " " + element.dataset.key; };
    element.dataset.keys = "";
    keep();
    new MutationObserver(keep).observe(element, {attributeFilter: ["data-key"]});
}"""


class Seen:
    """A picture of a page, and what the page tells of it.

    *run* returns the value of a JavaScript expression in the page. The expressions *app* and *picture* stand for the
    element that has the key and for the canvas.
    """

    def __init__(
        self,
        run: Callable[[str], Any],
        app: str = "document.getElementById('app')",
        picture: str = "document.getElementById('picture')",
    ) -> None:
        self.run, self._app, self._picture = run, app, picture

    def key(self) -> Any:
        return self.run(f"{self._app}?.dataset.key")

    def told(self) -> tuple[str, str]:
        """Return the key, and the words over the picture at the same moment."""
        key, words = self.run(f"[{self._app}.dataset.key, {self._app}.querySelector('.told').innerText.trim()]")
        return key, words

    def picture(self) -> Any:
        return self.run(f"({PIXELS})({self._picture})")

    def has_colours(self) -> bool:
        """Return whether it is the test picture, and no card and nothing black."""
        return bool(self.run(f"({_COLOURS})({self._picture})") > 10)

    def wait_for_key(self, key: str, seconds: float = 10.0) -> None:
        until(f"the page says {key}", lambda: self.key() == key, seconds)

    def wait_until_it_moves(self, seconds: float = 10.0) -> None:
        """Wait until the page says that the picture is live, and until another one comes."""
        self.wait_for_key("live", seconds)
        first = self.picture()
        until("another picture", lambda: self.picture() != first, seconds)

    def keep_keys(self) -> None:
        """Keep the keys that the page has from now on."""
        self.run(f"({_KEEP_KEYS})({self._app})")

    def kept_keys(self) -> set[str]:
        """Return the keys that the page had since `keep_keys`."""
        return set(self.run(f"{self._app}.dataset.keys").split())
