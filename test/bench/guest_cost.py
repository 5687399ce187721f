# Owns: what pgleak costs a client backend: instructions for each transaction, counted by callgrind in one backend.
# Called by: test/bench/run, with the programs' directory and a private directory. Adds rows to the table.
#
# A transaction is BEGIN; SELECT 1; END, three simple queries. One server after another runs under callgrind, each with
# settings of its own; the instructions of a session of 200 transactions and of one of 3000 are counted, and the difference
# taken, so that the session's start and end are not in it. The count hardly depends on what else the machine does.

import glob
import os
import re
import signal
import subprocess
import sys
import time

import psycopg2

import rows

STATEMENTS = ("BEGIN", "SELECT 1", "END")
FEW, MANY = 200, 3000
PORT = 5432  # of the socket in the private directory
LOADED = "shared_preload_libraries = 'pgleak'"
NO_IDS = "compute_query_id = off"
TIMEOUT = "idle_in_transaction_session_timeout = '10min'"

# name, settings, the one it is compared with, most that it may cost in percent
VARIANTS = (
    ("server alone", [NO_IDS], None, None),
    ("idle_in_transaction_session_timeout", [NO_IDS, TIMEOUT], "server alone", None),
    ("pgleak, trail 0", [NO_IDS, LOADED, "pgleak.trail_size = 0"], "server alone", 0.3),
    ("pgleak, trail 8", [NO_IDS, LOADED, "pgleak.trail_size = 8"], "server alone", 1.0),
    ("query ids", ["compute_query_id = on"], "server alone", None),
    ("query ids and pgleak, trail 0", ["compute_query_id = on", LOADED, "pgleak.trail_size = 0"], "query ids", 0.3),
    ("query ids and pgleak, trail 8", ["compute_query_id = on", LOADED, "pgleak.trail_size = 8"], "query ids", 1.0),
)


class Server:
    """A throw-away cluster under callgrind."""

    def __init__(self, bindir, directory):
        self.bindir, self.directory = bindir, directory
        self.data = os.path.join(directory, "data")
        subprocess.run([f"{bindir}/initdb", "-D", self.data, "-U", "postgres", "--no-sync", "-A", "trust"],
                       check=True, stdout=subprocess.DEVNULL)

    def start(self, settings):
        with open(os.path.join(self.data, "postgresql.auto.conf"), "w") as conf:
            conf.write("\n".join([f"port = {PORT}", f"unix_socket_directories = '{self.directory}'",
                                  "listen_addresses = ''", "autovacuum = off", "fsync = off", *settings]) + "\n")
        self.log = open(os.path.join(self.directory, "log"), "w")
        self.process = subprocess.Popen(
            ["valgrind", "-q", "--tool=callgrind", "--toggle-collect=PostgresMain",
             f"--callgrind-out-file={self.directory}/counts.%p", f"{self.bindir}/postgres", "-D", self.data],
            stdout=self.log, stderr=self.log)

    def connect(self):
        deadline = time.monotonic() + 120
        while True:
            try:
                connection = psycopg2.connect(host=self.directory, port=PORT, user="postgres", dbname="postgres")
                connection.autocommit = True
                return connection
            except psycopg2.OperationalError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise
                time.sleep(0.1)

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        self.process.wait(120)
        for file in glob.glob(f"{self.directory}/counts.*"):
            os.remove(file)


def totals(path):
    """Instructions in a file of callgrind's, once it is whole; None before."""
    try:
        with open(path) as file:
            found = re.search(r"^totals: (\d+)", file.read(), re.M)
    except FileNotFoundError:
        return None
    return int(found.group(1)) if found else None


def count(server, transactions):
    """Instructions of a backend for its start, so many transactions, and its end."""
    connection = server.connect()
    cursor, pid = connection.cursor(), connection.get_backend_pid()
    for _ in range(transactions):
        for statement in STATEMENTS:
            cursor.execute(statement)
    connection.close()
    deadline = time.monotonic() + 120
    while (result := totals(f"{server.directory}/counts.{pid}")) is None:
        assert time.monotonic() < deadline, "callgrind has not written what it counted"
        time.sleep(0.1)
    return result


def measure(server, settings):
    server.start(settings)
    try:
        count(server, FEW)  # whatever the first session of a server has to do
        few = count(server, FEW)
        return (count(server, MANY) - few) / (MANY - FEW)
    finally:
        server.stop()


def main():
    bindir, directory = sys.argv[1:]
    server = Server(bindir, directory)
    counts = {}
    for name, settings, base, most in VARIANTS:
        counts[name] = measure(server, settings)
        if base is None:
            continue
        more = (counts[name] / counts[base] - 1) * 100
        rows.add(f"BEGIN; SELECT 1; END: {name} ({more:+.2f} %)", "instructions", [counts[name]], base, [counts[base]],
                 "" if most is None else f"<= {most:+.1f} %", None if most is None else more <= most)


main()
