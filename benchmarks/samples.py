"""Measurements of one thing, and the one line that every benchmark prints of them."""

import re
import statistics
from dataclasses import dataclass, field

LINE = re.compile(
    r"\s*(?P<name>\S.*?)\s{2,}(?P<median>[\d.]+) (?P<unit>\S*)\s+"
    r"\((?P<low>[\d.]+) to (?P<high>[\d.]+), (?P<runs>\d+) runs(?:, p95 (?P<p95>[\d.]+))?\)"
)


@dataclass
class Samples:
    """Values of one unit; as text their median, range, number and 95th percentile."""

    unit: str
    values: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.values)

    def __str__(self) -> str:
        if not self.values:
            return "-"
        low, high = min(self.values), max(self.values)
        p95 = statistics.quantiles(self.values * 2, n=20, method="inclusive")[-1]  # twice: of one value as well
        spread = f"{low:.2f} to {high:.2f}, {len(self.values)} runs, p95 {p95:.2f}"
        return f"{self.median:9.2f} {self.unit}   ({spread})"


def told(name: str, unit: str, values: list[float]) -> None:
    """Print the line."""
    print(f"{name:48}{Samples(unit, values)}", flush=True)
