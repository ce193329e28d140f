"""Make faults in a module: one small change each, of the kinds that people make.

Comparisons, `and`, `or`, `not`, conditions, arithmetic, numbers, True and False, dropped keyword arguments and dropped
statements. Texts are left as they are. So are annotations, decorators, assertions and calls of `log.debug`, and the
numbers of constants: what they should be is a decision, and tests go by their names.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_OTHER: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv, ast.LShift: ast.RShift, ast.RShift: ast.LShift, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip
_LEFT_OUT = ("annotation", "returns", "decorator_list")
_PLAIN = ast.Name | ast.Attribute | ast.Call | ast.NamedExpr | ast.Subscript


@dataclass(frozen=True)
class Fault:
    """One *change* at *line* of a module, whose text there is *code*; a test that runs one of *lines* gets there.

    *text* is that of the whole module with the fault. Comments are not in it.
    """

    line: int
    code: str
    change: str
    lines: range
    text: str


def faults(source: str) -> Iterator[Fault]:
    """Yield the faults that can be made in *source*, a module."""
    tree = ast.parse(source)
    lines = source.splitlines()
    decided = {
        id(node) for constant in filter(_is_constant, tree.body) for node in ast.walk(constant) if _is_number(node)
    }
    for statement, place, holder, key, node in list(_places(tree, 0)):
        if id(node) in decided:
            continue
        for new in _variants(place, node):
            holder[key] = new
            text = ast.unparse(tree)
            holder[key] = node
            change = f"{ast.unparse(node)} → {ast.unparse(new)}"
            reached = range(statement, (node.end_lineno or node.lineno) + 1)
            yield Fault(node.lineno, lines[node.lineno - 1].strip(), change, reached, text)


def _is_constant(statement: ast.stmt) -> bool:
    match statement:
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
            return name.isupper()
    return False


def _is_number(node: ast.AST) -> bool:
    """Return whether this is a number, or made of numbers."""
    if isinstance(node, ast.BinOp):
        return _is_number(node.left) and _is_number(node.right)
    return isinstance(node, ast.Constant) and type(node.value) in (int, float)


def _places(parent: ast.AST, statement: int) -> Iterator[tuple[int, str, Any, int | str, ast.expr | ast.stmt]]:
    """Yield each node below *parent*: the line of its statement, its field, what holds it, by which key, and itself."""
    for place, value in ast.iter_fields(parent):
        holder = value if isinstance(value, list) else vars(parent)
        for key, node in enumerate(value) if isinstance(value, list) else [(place, value)]:
            if not isinstance(node, ast.AST) or place in _LEFT_OUT or _is_left_out(node):
                continue
            here = node.lineno if isinstance(node, ast.stmt) else statement
            if isinstance(node, ast.expr | ast.stmt):
                yield here, place, holder, key, node
            yield from _places(node, here)


def _is_left_out(node: ast.AST) -> bool:
    if isinstance(node, ast.If):
        return ast.unparse(node.test) == "TYPE_CHECKING"
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant) or ast.unparse(node).startswith(("log.debug(", "_log.debug("))
    return isinstance(node, ast.Assert)


def _variants(place: str, node: ast.expr | ast.stmt) -> Iterator[ast.AST]:
    """Yield what may stand in place of *node*, which is the field *place* of its parent."""
    if place == "test" and isinstance(node, _PLAIN):
        yield ast.UnaryOp(ast.Not(), node)
    match node:
        case ast.Compare():
            for number, op in enumerate(node.ops):
                ops = [*node.ops[:number], _OTHER[type(op)](), *node.ops[number + 1 :]]
                yield _with(node, ops=ops)
            if len(node.ops) > 1:
                yield ast.Compare(node.comparators[0], node.ops[1:], node.comparators[1:])
                yield ast.Compare(node.left, node.ops[:-1], node.comparators[:-1])
        case ast.BoolOp():
            yield _with(node, op=_OTHER[type(node.op)]())
            for value in node.values:
                rest = [other for other in node.values if other is not value]
                yield _with(node, values=rest) if len(rest) > 1 else rest[0]
        case ast.UnaryOp(op=ast.Not()):
            yield node.operand
        case ast.BinOp() | ast.AugAssign() if type(node.op) in _OTHER:
            yield _with(node, op=_OTHER[type(node.op)]())
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=(int() | float()) as number):
            yield from (ast.Constant(number + 1), ast.Constant(number - 1))
        case ast.Call():
            for keyword in node.keywords:
                yield _with(node, keywords=[other for other in node.keywords if other is not keyword])
    match node:
        case (
            (ast.Expr() | ast.AugAssign() | ast.Raise() | ast.Delete() | ast.Continue() | ast.Break())
            | ast.Return(value=None)
            | ast.Assign(targets=[ast.Attribute() | ast.Subscript()])
        ):
            yield ast.Pass()


def _with(node: ast.AST, **fields: object) -> ast.AST:
    """Return *node* with other *fields*."""
    new = copy.copy(node)
    vars(new).update(fields)
    return new
