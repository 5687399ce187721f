# What the companions for node-pg and JDBC cost the application: microseconds for each statement and each checkout.
# Called by: test/bench/run, as companion_rows.py NAME COMMAND..., a program that prints its measurements as JSON.
# Must never: measure a server.

import json
import statistics
import subprocess
import sys

import rows

TARGETS = {"a checkout": 20}  # microseconds; of statements 5


def main():
    name, *command = sys.argv[1:]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for measure, values in json.loads(output).items():
        target = TARGETS.get(measure, 5)
        extent = f"{rows.number(min(values))} to {rows.number(max(values))} in {len(values)} rounds"
        rows.add(f"companion for {name}: {measure}, {extent}", "us", values, target=f"<= {target} us",
                 met=statistics.median(values) <= target)


main()
