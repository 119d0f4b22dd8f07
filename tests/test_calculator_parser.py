"""The calculator's grammar against Python's: what it reads, how it writes it, and how it refuses the rest."""

import ast
import json
import warnings

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from resonate.options import Options

from calculator.client import MAX_LENGTH, MAX_LEVELS, LimitError, read, stable_id
from calculator.parser import Expr, ParseError, canonical, measure, parse

NUMBERS = st.integers(min_value=0, max_value=10**30)
BLANKS = st.text(" \t", max_size=2)


@st.composite
def texts(draw: st.DrawFn, depth: int = 5) -> str:
    """Draw an expression as people write it: any spacing, superfluous parentheses, minus signs before anything."""
    kind = draw(st.sampled_from(["number", "minus", "parentheses", "sum", "product"])) if depth else "number"
    smaller = texts(depth - 1)
    match kind:
        case "number":
            text = str(draw(NUMBERS))
        case "minus":
            text = f"-{draw(BLANKS)}{draw(smaller)}"
        case "parentheses":
            text = f"({draw(smaller)})"
        case "sum":
            text = f"{draw(smaller)}{draw(st.sampled_from('+-'))}{draw(smaller)}"
        case _:
            text = f"{draw(smaller)}*{draw(smaller)}"
    return f"{draw(BLANKS)}{text}{draw(BLANKS)}"


def python_tree(text: str) -> Expr | None:
    """Return what Python's own parser reads, as a tree of ours; None if it or our grammar has no such thing."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python warns of "1if" and the like
            return from_python(ast.parse(text.strip(" \t"), mode="eval").body)
    except (SyntaxError, ValueError):
        return None


def from_python(node: ast.AST) -> Expr:
    symbols = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*"}
    match node:
        case ast.Constant(value=int(number)) if type(number) is int:
            return number
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            inner = from_python(operand)
            return -inner if isinstance(inner, int) else ("-", 0, inner)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in symbols:
            return (symbols[type(op)], from_python(left), from_python(right))
    raise ValueError(f"not in the calculator's grammar: {ast.dump(node)}")


def value(expr: Expr) -> int:
    match expr:
        case int(number):
            return number
        case "+", lhs, rhs:
            return value(lhs) + value(rhs)
        case "-", lhs, rhs:
            return value(lhs) - value(rhs)
        case "*", lhs, rhs:
            return value(lhs) * value(rhs)
    raise AssertionError(expr)


@given(texts())
def test_an_expression_has_the_value_that_python_gives_it(text: str) -> None:
    assert value(parse(text)) == eval(text)  # noqa: S307 - digits, operators and blanks of our own making


@given(texts())
def test_the_canonical_form_is_the_same_tree_and_stays_what_it_is(text: str) -> None:
    tree = parse(text)
    form = canonical(tree)
    assert parse(form) == tree
    assert canonical(parse(form)) == form
    assert " " not in form
    assert "\t" not in form


@given(texts(), st.data())
def test_a_damaged_text_is_read_as_python_reads_it_or_refused_at_a_position_inside_it(
    text: str, data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 3)))
    put = data.draw(st.text("0123456789+-*() \t/$x_.\n−×１٣", max_size=3))  # noqa: RUF001 - look-alikes are the point
    damaged = text[:start] + put + text[end:]
    expected = python_tree(damaged)
    if expected is None or "_" in damaged or "\n" in damaged:  # Python knows 1_000, and line breaks in parentheses
        with pytest.raises(ParseError) as caught:
            parse(damaged)
        assert 1 <= caught.value.position <= len(damaged) + 1
    else:
        assert parse(damaged) == expected


@given(st.text("0123456789+-*() ", max_size=12))
@example("00")
@example("007")
@example("2**3")
@example("1(2)")
def test_any_text_of_the_calculators_own_characters_is_read_exactly_when_python_reads_it(text: str) -> None:
    expected = python_tree(text)
    if expected is None:
        with pytest.raises(ParseError):
            parse(text)
    else:
        assert parse(text) == expected


@pytest.mark.parametrize(
    ("text", "position", "found", "expected"),
    [
        ("", 1, "the end", "a number, - or ("),
        ("   ", 4, "the end", "a number, - or ("),
        ("1 +", 4, "the end", "a number, - or ("),
        ("1 2", 3, "'2'", "+, -, * or the end"),
        ("(1+2", 5, "the end", "+, -, * or the ) of the ( at position 1"),
        ("1)+2", 2, "')'", "+, -, * or the end"),
        ("2/3", 2, "'/'", "+, -, * or the end"),
        ("1 $ 2", 3, "'$'", "+, -, * or the end"),
        ("1**2", 3, "'*'", "a number, - or ("),
        ("()", 2, "')'", "a number, - or ("),
        ("+1", 1, "'+'", "a number, - or ("),
        ("2*(007)", 4, "'007'", "a number without leading zeros"),
        ("1 − 2", 3, "'−' (U+2212 MINUS SIGN)", "+, -, * or the end"),  # noqa: RUF001 - look-alikes are the point
        ("2×3", 2, "'×' (U+00D7 MULTIPLICATION SIGN)", "+, -, * or the end"),  # noqa: RUF001
        ("１", 1, "'１' (U+FF11 FULLWIDTH DIGIT ONE)", "a number, - or ("),  # noqa: RUF001
        ("٣", 1, "'٣' (U+0663 ARABIC-INDIC DIGIT THREE)", "a number, - or ("),
        ("1\n+2", 2, r"'\n' (U+000A without a name)", "+, -, * or the end"),
    ],
)
def test_an_error_names_the_position_what_was_found_and_what_was_expected(
    text: str, position: int, found: str, expected: str
) -> None:
    with pytest.raises(ParseError) as caught:
        parse(text)
    assert str(caught.value) == f"position {position}: found {found}, expected {expected}"
    line, caret = caught.value.picture.split("\n")
    assert line == f"    {text}".replace("\n", " ")
    assert caret == " " * (3 + position) + "^"


def test_the_picture_of_an_error_in_a_long_text_shows_the_part_around_it_without_control_characters() -> None:
    with pytest.raises(ParseError) as caught:
        parse("1+" * 5_000 + "\x1b[2J" + "+1" * 5_000)
    line, caret = caught.value.picture.split("\n")
    assert len(line) <= 74
    assert line.isprintable()
    assert line[: len(caret) - 1].endswith("1+1+1+")
    assert line[len(caret) :].startswith("[2J+1")


def test_a_thousand_levels_and_ten_thousand_terms_parse() -> None:
    assert parse("(" * 1_000 + "7" + ")" * 1_000) == 7
    assert measure(parse("1+(" * 1_000 + "1" + ")" * 1_000)) == (3_001, 1_000)
    chain = "+".join(["1"] * 10_000)
    assert measure(parse(chain)) == (29_998, 9_999)
    assert canonical(parse(chain)) == chain


def test_numbers_have_any_size() -> None:
    digits = "9" * 50_000
    assert parse(f"-{digits}") == 1 - 10**50_000
    assert canonical(parse(f"{digits}*{digits}")) == f"{digits}*{digits}"


def test_what_a_run_cannot_carry_is_refused_with_the_limit() -> None:
    assert measure(read("1" + "+1" * MAX_LEVELS)) == (3 * MAX_LEVELS + 1, MAX_LEVELS)
    with pytest.raises(LimitError, match="701 operators inside each other, at most 700"):
        read("1" + "+1" * (MAX_LEVELS + 1))
    assert read("7" + " " * (MAX_LENGTH - 1)) == 7
    with pytest.raises(LimitError, match="100,001 characters, at most 100,000"):
        read(" " * (MAX_LENGTH + 1))


@pytest.mark.filterwarnings("ignore:keys will default:DeprecationWarning")  # between the SDK and its pickler
@pytest.mark.parametrize(
    "text",
    [
        "1" + "+1" * MAX_LEVELS,
        "1-(" * (MAX_LEVELS - 1) + "1-1" + ")" * (MAX_LEVELS - 1),
        "*".join([f"({'1' + '+1' * 620})"] * 80),
    ],
    ids=["nested to the left", "nested to the right", "of the most characters"],
)
def test_the_sdk_carries_the_largest_trees_there_and_back(text: str) -> None:
    assert len(text) <= MAX_LENGTH
    encoder = Options().get_encoder()
    headers, data = encoder.encode({"func": "=", "args": (read(text),), "kwargs": {}, "version": 1})
    assert headers is not None
    assert data is not None
    assert len(json.dumps(headers)) + len(data) * 4 / 3 < 4 * 2**20 - 10_000  # a request, as the server takes them
    assert canonical(encoder.decode((headers, data))["args"][0]) == text


def test_two_texts_of_one_expression_share_an_id_and_a_long_one_is_hashed() -> None:
    assert stable_id(parse("(1 + 2) * (3 - 4)")) == stable_id(parse("((1+2)) * ( 3-4 )")) == "calculator-(1+2)*(3-4)"
    assert stable_id(parse("1+2*3")) != stable_id(parse("(1+2)*3"))
    long = "+".join(["1"] * 300)
    assert len(stable_id(parse(long))) < 80
    assert stable_id(parse(long)) != stable_id(parse(f"{long}+1"))
