"""Text to expression tree and back: whole numbers of any size, ``+ - *``, unary minus, parentheses.

    sum     = product { ("+" | "-") product }
    product = factor { "*" factor }
    factor  = number | "-" factor | "(" sum ")"

``1+2*3`` is ``("+", 1, ("*", 2, 3))`` and ``1-2-3`` is ``("-", ("-", 1, 2), 3)``. A minus makes a number negative;
before anything else it is ``0 - that``. Blanks between symbols mean nothing. Whatever the grammar does not know is an
error with its position: nothing is dropped, nothing is guessed.

Operators wait on a stack of their own until one that binds less tightly comes (operator precedence parsing). Depth is
therefore memory and never the call stack: 1,000 nested parentheses or 10,000 terms are plain input.
"""

import re
import sys
import unicodedata
from collections.abc import Iterator

type Expr = int | tuple[str, Expr, Expr]

OPERATORS = {"+": 1, "-": 1, "*": 2}  # how tightly each binds
BINDING = {"(": 0, **OPERATORS, "negate": 3}  # the same for all that waits on the stack

# Unless told otherwise, Python reads and prints at most 4,300 digits and follows 1,000 calls inside each other. The SDK
# ends a process that meets either limit in a value, so whoever handles expressions lifts both.
sys.set_int_max_str_digits(0)
sys.setrecursionlimit(10_000)


class ParseError(ValueError):
    """The text is no expression. ``position`` counts characters from 1; the end is one past the last of them."""

    def __init__(self, text: str, position: int, found: str, expected: str) -> None:
        super().__init__(f"position {position}: found {_named(found)}, expected {expected}")
        self.text, self.position, self.found, self.expected = text, position, found, expected

    @property
    def picture(self) -> str:
        """The text around the error, and a caret under it: two lines of at most 74 columns."""
        start = max(0, self.position - 50)
        shown = "".join(char if char.isprintable() else " " for char in self.text[start : start + 70])
        return f"    {shown}\n    {' ' * (self.position - 1 - start)}^"


def parse(text: str) -> Expr:
    """Return the tree that ``text`` denotes.

    Raises:
        ParseError: it is no expression.
    """
    values: list[Expr] = []  # read, and not yet an operand of anything
    waiting: list[tuple[str, int]] = []  # operators and "(" with their positions, until what follows them is read
    after_value = False
    for symbol, position in _symbols(text):
        if not after_value:
            if symbol in ("-", "("):
                waiting.append(("negate" if symbol == "-" else "(", position))
                continue
            values.append(_number(text, position, symbol))
        else:
            while waiting and BINDING[waiting[-1][0]] >= OPERATORS.get(symbol, 1):
                _apply(waiting.pop()[0], values)
            if symbol in OPERATORS:
                waiting.append((symbol, position))
            elif waiting and symbol == ")":
                waiting.pop()
                continue
            elif waiting:
                raise ParseError(text, position, symbol, f"+, -, * or the ) of the ( at position {waiting[-1][1]}")
            elif symbol:
                raise ParseError(text, position, symbol, "+, -, * or the end")
        after_value = not after_value
    return values[0]


def canonical(expr: Expr) -> str:
    """Return the one text of a tree: no blanks, and only the parentheses that it needs.

    ``parse(canonical(expr))`` is ``expr``, so two texts of one tree have one canonical form.
    """
    words: list[str] = []
    todo: list[Expr | str] = [expr]
    while todo:
        match todo.pop():
            case str(word):
                words.append(word)
            case int(number):
                words.append(str(number))
            case op, lhs, rhs:
                todo += [*_grouped(rhs, OPERATORS[op] + 1), op, *_grouped(lhs, OPERATORS[op])]
    return "".join(words)


def measure(expr: Expr) -> tuple[int, int]:
    """Return how many calls its value takes, and how many levels of operators it has.

    The calls: one for the expression and, for each operator in it, one for each half and one for the operation.
    """
    calls, levels = 1, 0
    todo = [(expr, 1)]
    while todo:
        match todo.pop():
            case (_, lhs, rhs), level:
                calls += 3
                levels = max(levels, level)
                todo += [(lhs, level + 1), (rhs, level + 1)]
    return calls, levels


def _symbols(text: str) -> Iterator[tuple[str, int]]:
    """Yield each number and each other character with its position, and at last the end as ``""``."""
    for match in re.finditer(r"[0-9]+|[^ \t]", text, re.DOTALL):
        yield match[0], match.start() + 1
    yield "", len(text) + 1


def _number(text: str, position: int, symbol: str) -> int:
    if not (symbol.isascii() and symbol.isdecimal()):
        raise ParseError(text, position, symbol, "a number, - or (")
    if symbol.lstrip("0") not in (symbol, ""):
        raise ParseError(text, position, symbol, "a number without leading zeros")
    return int(symbol)


def _apply(op: str, values: list[Expr]) -> None:
    """Replace the last value, or the last two, by the tree of ``op`` over them."""
    rhs = values.pop()
    if op != "negate":
        values.append((op, values.pop(), rhs))
    else:
        values.append(-rhs if isinstance(rhs, int) else ("-", 0, rhs))


def _grouped(expr: Expr, binding: int) -> list[Expr | str]:
    """Return what to write for an operand, last word first: in parentheses if it binds less tightly than asked."""
    return [expr] if isinstance(expr, int) or OPERATORS[expr[0]] >= binding else [")", expr, "("]


def _named(symbol: str) -> str:
    if not symbol:
        return "the end"
    if symbol.isascii() and symbol.isprintable():
        return repr(symbol if len(symbol) <= 20 else f"{symbol[:20]}...")  # noqa: PLR2004 - enough to recognise it
    return f"{symbol!r} (U+{ord(symbol):04X} {unicodedata.name(symbol, 'without a name')})"
