# The shape of what the benchmarks find: rows of one table, kept in a file until all have run, printed and written as CSV.
# Called by: each benchmark, which adds its rows to the file $PGLEAK_BENCH_ROWS names; test/bench/run, as `rows.py ROWS CSV`.
# Must never: judge. Whether a target is met is for the benchmark to say.

import csv
import os
import statistics
import sys

COLUMNS = ("measure", "pgleak", "compared with", "ratio: median", "ratio: range", "pairs", "target", "met")


def number(value):
    """With three digits that count, or all that are before the point."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def ratio(value):
    """As a number, but so that 0.3 % can be told from nothing."""
    return f"{value:.4f}" if 0.9 < value < 1.1 else number(value)


def ratios(ours, theirs):
    """How many times cheaper pgleak is, for each pair of values measured in turn."""
    return [their / our for our, their in zip(ours, theirs, strict=True)]


def add(measure, unit, ours, other="", theirs=(), target="", met=None):
    """Adds a row. `ours` are pgleak's values in `unit`; `theirs` those of `other`, pair by pair, or nothing."""
    middle, extent, compared = "", "", ""
    if theirs:
        found = ratios(ours, theirs)
        middle, extent = ratio(statistics.median(found)), f"{ratio(min(found))} to {ratio(max(found))}"
        compared = f"{number(statistics.median(theirs))} {unit}: {other}"
    row = (measure, f"{number(statistics.median(ours))} {unit}", compared, middle, extent, len(theirs) or "", target,
           "" if met is None else "yes" if met else "no")
    with open(os.environ["PGLEAK_BENCH_ROWS"], "a", newline="") as file:
        csv.writer(file).writerow(row)


def skip(measure, other):
    """Adds a row that says what could not be compared, as `other` is not here."""
    with open(os.environ["PGLEAK_BENCH_ROWS"], "a", newline="") as file:
        csv.writer(file).writerow((measure, "", f"skipped: no {other}", "", "", "", "", ""))


def main():
    rows_path, csv_path = sys.argv[1:]
    with open(rows_path, newline="") as file:
        rows = [COLUMNS, *csv.reader(file)]
    with open(csv_path, "w", newline="") as file:
        csv.writer(file).writerows(rows)
    widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
    print()
    for row in rows:
        print(" | ".join(field.ljust(width) for field, width in zip(row, widths)).rstrip())
    print(f"\nthe same as CSV: {csv_path}")


if __name__ == "__main__":
    main()
