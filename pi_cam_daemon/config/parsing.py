"""Parse TOML as people write it: in the encoding of any editor, with the quotes of a word processor.

A file that is TOML is never changed. Errors are sentences that name the line.
"""

from __future__ import annotations

import ast
import codecs
import re
import tomllib
from typing import Any

from pi_cam_daemon.config.text import short

_QUOTES = "“”„‟＂‘’‚‛＇"
# quotes, blanks, commas, brackets and equals signs of word processors and input methods, and those of TOML
_TYPOGRAPHY = str.maketrans(f"{_QUOTES}\u00a0\u3000＝［］，", "\"\"\"\"\"'''''  =[],")
# not taken for quotes, but named in an error
_OTHER_QUOTES = "«»‹›「」『』`´"
_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))

_PLACE = re.compile(r"(?P<what>.*) \(at line (?P<line>\d+), column \d+\)", re.DOTALL)
_DECLARED = re.compile(r"Cannot declare (?P<names>\(.*\)) twice", re.DOTALL)


def decode(data: bytes) -> tuple[bytes, str, str]:
    """Return the byte-order mark, the encoding, and the text after the mark. Raises ValueError if it is not UTF-8."""
    mark, encoding = next((known for known in _MARKS if data.startswith(known[0])), (b"", "utf-8"))
    try:
        return mark, encoding, data[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        line, byte = error.object.count(b"\n", 0, error.start) + 1, error.object[error.start]
        raise ValueError(f"line {line}: byte 0x{byte:02x} is not {encoding.upper()}; save the file as UTF-8") from None


def parse(text: str) -> dict[str, Any]:
    """Return the tables in *text*. Tries lines that are not TOML again with the signs of TOML. Raises ValueError."""
    try:
        return _tables(text)
    except ValueError as error:
        corrected = "".join(map(_corrected, text.splitlines(keepends=True)))
        if corrected == text:
            raise ValueError(_in_words(error, text)) from None
    try:
        return _tables(corrected)
    except ValueError as error:
        raise ValueError(_in_words(error, text)) from None


def _tables(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except ValueError:  # int() accepts at most 4300 digits
        raise ValueError("a number is too long") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _corrected(line: str) -> str:
    # a line that is TOML already stays: a password may contain such characters
    try:
        _tables(line)
        return line
    except ValueError:
        return line.translate(_TYPOGRAPHY)


def _in_words(error: ValueError, text: str) -> str:
    """Return the message of *error*, which tomllib raised for *text*, with a hint; common ones as a sentence."""
    found = _PLACE.fullmatch(str(error))
    if not found:
        return str(error)
    lines, number = text.split("\n"), int(found["line"])
    line = lines[number - 1] if number <= len(lines) else ""
    if declared := _DECLARED.fullmatch(found["what"]):
        name = ".".join(ast.literal_eval(declared["names"]))
        first = _first(name, lines[: number - 1])
        return f"line {number}: the table [{short(name)}] is there twice{first}; write all its keys below one"
    key, equals, value = line.partition("=")
    if found["what"] == "Cannot overwrite a value" and equals:
        return f"line {number}: {short(key.strip())} is set twice; remove one of the lines"
    if quote := next((sign for sign in line if sign in _QUOTES + _OTHER_QUOTES), ""):
        return f"""{error}; {quote} is a typographic quote, write " or '"""
    if found["what"] != "Invalid value":
        return str(error)
    word = value.partition("#")[0].strip()
    return f"{error}; {f'write {word.lower()}' if word.lower() in ('true', 'false') else 'text needs quotes'}"


def _first(name: str, lines: list[str]) -> str:
    """Return the line that begins the table *name*, as words; "" if it is written in another way."""
    begin = re.compile(rf"\s*(\[\s*)?{re.escape(name)}\s*[].=]")
    return next((f", first in line {number}" for number, line in enumerate(lines, 1) if begin.match(line)), "")
