"""The faults that `scripts/mutate` puts into modules."""

from __future__ import annotations

import pytest

from tests.mutation.faults import faults

TOY = '''
"""A toy."""
MOST = 3

def fits(number: int | None, strict=True) -> bool:
    """Return whether it fits."""
    if number is None:
        raise ValueError("no number")
    return 0 < number <= MOST
'''


@pytest.mark.parametrize(
    ("statement", "changes"),
    [
        ("f(a < b)", ["a <= b", "pass"]),
        ("x = a is not b", ["a is b"]),
        ("x = 0 < a", ["0 <= a", "1", "-1"]),
        ("x = a <= b < c", ["a < b < c", "a <= b <= c", "b < c", "a <= b"]),
        ("x = a and b", ["a or b", "b", "a"]),
        ("x = a or b or c", ["a and b and c", "b or c", "a or c", "a or b"]),
        ("x = not a", ["a"]),
        ("x = b if a else c", ["not a"]),
        ("while a.b(): break", ["not a.b()", "pass"]),
        ("x = a - b", ["a + b"]),
        ("x += b", ["x -= b", "pass"]),
        ("x = True", ["False"]),
        ("MOST = 3 * 1024", []),
        ("_LEAST_SECONDS: float = 2.0", []),
        ("most = 3", ["4", "2"]),
        ("x = f(a, b=c)", ["f(a)"]),
        ("x.y = a", ["pass"]),
        ("raise a", ["pass"]),
        ("x: a | b = 'text'", []),
        ("'text'", []),
        ("assert a < b", []),
        ("_log.debug(a, b=c)", []),
        ("if TYPE_CHECKING: f()", []),
    ],
)
def test_each_kind_of_statement_gets_its_faults(statement: str, changes: list[str]) -> None:
    made = [fault.change.partition(" → ")[2] for fault in faults(statement)]
    assert sorted(made) == sorted(changes)


def unnoticed(numbers: tuple[int, ...]) -> list[str]:
    """Return the faults of the toy that a test with *numbers* does not notice."""

    def outcome(text: str) -> tuple[bool | str, ...]:
        toy: dict[str, object] = {}
        exec(text, toy)
        found: list[bool | str] = []
        for number in (None, *numbers):
            try:
                found.append(toy["fits"](number))  # type: ignore[operator]
            except (TypeError, ValueError) as error:
                found.append(type(error).__name__)
        return tuple(found)

    expected = outcome(TOY)
    return [f"{fault.line}: {fault.change}" for fault in faults(TOY) if outcome(fault.text) == expected]


def test_what_a_weak_test_does_not_notice_is_found_and_a_sharper_one_notices_it() -> None:
    assert unnoticed((-5, 2, 9)) == [
        "5: True → False",
        "9: 0 < number <= MOST → 0 <= number <= MOST",
        "9: 0 < number <= MOST → 0 < number < MOST",
        "9: 0 → 1",
        "9: 0 → -1",
    ]
    assert unnoticed((0, 1, 3, 4)) == ["5: True → False"]
