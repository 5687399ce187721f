# What a scanner with a scan every 10 ms takes from the throughput of an application, by pgbench.
# Called by: test/bench/run, as `throughput.py PGBENCH LOADED BARE CONTROL`, the ports of three clusters. Adds rows to the table.
#
# A block is a palindrome (ABBA), so that what slowly drifts, as the machine's load does, falls out of its ratio.

import argparse
import math
import os
import statistics
import subprocess

import beside
import rows

BLOCKS, SECONDS, SESSIONS = 5, 2, 1000
LOADS = {"-S": ["-S"], "TPC-B-like": []}
CLIENTS = 8, 64
STUDENT = 2.776  # of the t distribution: 95 % of it, for as many blocks


class Throughput:
    def __init__(self, pgbench, ports):
        self.pgbench = pgbench
        self.ports = ports

    def us(self, cluster, options, clients):
        """Microseconds for one transaction: less is better, as in the other rows."""
        command = [self.pgbench, "-n", "-T", str(SECONDS), "-c", str(clients), "-j", "2", *options]
        result = subprocess.run(command, env={**os.environ, "PGPORT": self.ports[cluster]}, capture_output=True, text=True, check=True)
        tps = next(line.split()[2] for line in result.stdout.splitlines() if line.startswith("tps = "))
        return 1e6 / float(tps)

    def polled(self, options, clients):
        with beside.polling(f"port={self.ports['bare']}"):
            return self.us("bare", options, clients)

    def block(self, options, clients):
        kinds = ["loaded", "bare", "control", "polled"]
        found = {kind: [] for kind in kinds}
        for kind in kinds + kinds[::-1]:
            found[kind].append(self.polled(options, clients) if kind == "polled" else self.us(kind, options, clients))
        return {kind: statistics.fmean(values) for kind, values in found.items()}


def interval(ours, theirs):
    """The 95 % confidence interval of the ratio."""
    logs = [math.log(ratio) for ratio in rows.ratios(ours, theirs)]
    middle, half = statistics.fmean(logs), STUDENT * statistics.stdev(logs) / math.sqrt(len(logs))
    return math.exp(middle - half), math.exp(middle + half)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("pgbench")
    parser.add_argument("ports", nargs=3)
    arguments = parser.parse_args()
    ports = dict(zip(("loaded", "bare", "control"), arguments.ports))
    held = []
    for port in ports.values():
        subprocess.run([arguments.pgbench, "-i", "-q", "-s", "10"], env={**os.environ, "PGPORT": port}, capture_output=True, check=True)
        held.append(beside.connect_many(SESSIONS, f"port={port}"))
    throughput = Throughput(arguments.pgbench, ports)
    for load, options in LOADS.items():
        for clients in CLIENTS:
            for cluster in ports:
                throughput.us(cluster, options, clients)  # warms the caches
            blocks = [throughput.block(options, clients) for _ in range(BLOCKS)]
            times = {kind: [block[kind] for block in blocks] for kind in blocks[0]}
            for kind, what in (("loaded", "pgleak loaded"), ("control", "control: not loaded either"),
                               ("polled", "pg_stat_activity polled instead")):
                low, high = interval(times[kind], times["bare"])
                middle = statistics.median(rows.ratios(times[kind], times["bare"]))
                target, met = {"loaded": (">= 0.98, 1.00 in interval", middle >= 0.98 and low <= 1 <= high), "control": ("", None),
                               "polled": ("<= 0.90", middle <= 0.90)}[kind]
                rows.add(f"pgbench {load}, {clients} clients, {what}; 95 %: {low:.3f} to {high:.3f}", "us", times[kind],
                         "nothing", times["bare"], target, met)


if __name__ == "__main__":
    main()
