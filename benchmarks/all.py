"""Run all benchmarks, one after another.

    uv run benchmarks/all.py                                 an hour on a machine that does nothing else
    uv run benchmarks/all.py flat cost                       only these
    uv run benchmarks/all.py --json all.json --plot all.svg

The JSON has an object for each line with a median. The plot shows what a request costs at more and more stored
promises, as flat.py prints it. Exits 1 if one of them does; the others run all the same.
"""

import json
import subprocess
import sys
from pathlib import Path

import click
from ending import leave_no_process
from samples import LINE

HERE = Path(__file__).parent
ALL = ("cost", "factorial", "calculator", "gateway", "page", "stalls", "crowds", "flat", "stored", "kit", "sdk_tests",
       "restate")  # fmt: skip
WIDTH, HEIGHT, EDGE = 640, 320, 48  # pixels of the plot, and of its margins
COLOURS = ("#0b6e99", "#b5651d", "#4d7c0f", "#7e3ff2")
KINDS = ("create", "complete", "get", "search of a page")  # the columns of flat.py behind promises and memory


def run(name: str) -> tuple[int, list[str]]:
    """Run one, and show what it prints; return its status and that."""
    print(f"\n# {name}", flush=True)
    with subprocess.Popen([sys.executable, HERE / f"{name}.py"], stdout=subprocess.PIPE, text=True) as child:
        lines = []
        for line in child.stdout or ():
            print(line, end="", flush=True)
            lines.append(line.rstrip())
    return child.returncode, lines


def measured(name: str, lines: list[str]) -> list[dict[str, object]]:
    """Return what the lines with a median tell."""
    found = [match.groupdict() for line in lines if (match := LINE.fullmatch(line))]
    texts = ("name", "unit")
    return [{"benchmark": name, **{key: text if key in texts else text and float(text) for key, text in one.items()}}
            for one in found]  # fmt: skip


def plot(lines: list[str]) -> str:
    """Return the table of flat.py as an SVG: ms of each kind of request over promises."""
    rows = [[float(text) for text in line.split()] for line in lines[1:]]
    most, slowest = max(row[0] for row in rows), max(max(row[2:]) for row in rows)

    def at(promises: float, ms: float) -> str:
        x, y = promises / most * (WIDTH - 2 * EDGE), ms / slowest * (HEIGHT - 2 * EDGE)
        return f"{EDGE + x:.1f},{HEIGHT - EDGE - y:.1f}"

    shapes = [
        f'<text x="{EDGE}" y="20">ms a request, over stored promises; top: {slowest:.2f} ms, right: {most:,.0f}</text>',
        f'<path d="M{at(0, slowest)} L{at(0, 0)} L{at(most, 0)}" fill="none" stroke="#888"/>',
    ]
    for number, (kind, colour) in enumerate(zip(KINDS, COLOURS, strict=True)):
        points = " ".join(at(row[0], row[2 + number]) for row in rows)
        shapes.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        shapes.append(f'<text x="{EDGE + 130 * number}" y="{HEIGHT - 12}" fill="{colour}">{kind}</text>')
    size = f'width="{WIDTH}" height="{HEIGHT}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="13">'
    return "\n".join([head, f'<rect {size} fill="#fff"/>', *shapes, "</svg>", ""])


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(ALL))
@click.option("--json", "table", type=click.Path(dir_okay=False, path_type=Path), help="Write all figures there.")
@click.option(
    "--plot", "picture", type=click.Path(dir_okay=False, path_type=Path), help="Draw cost against size there."
)
def main(names: tuple[str, ...], table: Path | None, picture: Path | None) -> None:
    """Run them."""
    leave_no_process()
    figures, failed = list[dict[str, object]](), list[str]()
    for name in names or ALL:
        status, lines = run(name)
        figures += measured(name, lines)
        failed += [name] if status else []
        if table:
            table.write_text(json.dumps(figures, indent=1))
        if picture and name == "flat" and not status:
            picture.write_text(plot(lines))
    if failed:
        sys.exit(f"found a limit missed, or an error, in: {', '.join(failed)}")


if __name__ == "__main__":
    main()
