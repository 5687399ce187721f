# What pgleak costs a client backend: instructions for each transaction, counted by callgrind in one backend.
# Called by: test/bench/run, with the programs' directory and a private directory. Adds rows to the table.
#
# A transaction is BEGIN; SELECT 1; END, three simple queries. One server after another runs under callgrind, each with
# settings of its own; the instructions of a session of 200 transactions and of one of 3000 are counted, and the difference
# taken, so that the session's start and end are not in it. The count hardly depends on what else the machine does, but what
# the server itself executes depends on where its memory happens to lie, by up to 1 % from one set of settings to another.
# So pgleak's own are told apart: those of its library, and of whatever that calls but for the server's own work, which it
# only passes on.

import contextlib
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

LIBRARY = "/pgleak.so"
PASSED_ON = ("standard_ProcessUtility", "standard_ExecutorStart", "standard_ExecutorRun")

# name, settings, the one it is compared with, most that its own may be of that, in percent
VARIANTS = (
    ("server alone", [NO_IDS], None, None),
    ("idle_in_transaction_session_timeout", [NO_IDS, TIMEOUT], "server alone", None),
    ("pgleak, trail 0", [NO_IDS, LOADED, "pgleak.trail_size = 0"], "server alone", 0.3),
    ("pgleak, trail 0, no idle times", [NO_IDS, LOADED, "pgleak.trail_size = 0", "pgleak.track_idle_times = off"],
     "server alone", 0.3),
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


def totals(text):
    """All instructions in a file of callgrind's; None before it is whole."""
    found = re.search(r"^totals: (\d+)", text, re.M)
    return int(found.group(1)) if found else None


class Names:
    """What callgrind names once, "(3) name", and by its number alone, "(3)", from then on."""

    def __init__(self):
        self.known = {}

    def read(self, value):
        number, _, name = value.partition(" ")
        return self.known.setdefault(number, name)


def own(text):
    """Those of the library's functions, and of what they call that is neither theirs nor passed on."""
    objects, functions = Names(), Names()
    here = called_object = called = None
    is_call = False
    instructions = 0
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if equals and key == "ob":
            here = called_object = objects.read(value)
        elif equals and key == "fn":
            functions.read(value)
        elif equals and key == "cob":
            called_object = objects.read(value)
        elif equals and key == "cfn":
            called = functions.read(value)
        elif equals and key == "calls":
            is_call = True
        elif here and here.endswith(LIBRARY) and re.match(r"[\d+*-]\S* \d+$", line):
            if not is_call or (called_object != here and called not in PASSED_ON):
                instructions += int(line.split()[1])
        if not equals:
            is_call, called_object = False, here
    return instructions


def count(server, transactions):
    """Instructions of a backend for its start, so many transactions, and its end: all, and pgleak's own."""
    connection = server.connect()
    cursor, pid = connection.cursor(), connection.get_backend_pid()
    for _ in range(transactions):
        for statement in STATEMENTS:
            cursor.execute(statement)
    connection.close()
    deadline = time.monotonic() + 120
    while True:
        with contextlib.suppress(FileNotFoundError), open(f"{server.directory}/counts.{pid}") as file:
            text = file.read()
            if (result := totals(text)) is not None:
                return result, own(text)
        assert time.monotonic() < deadline, "callgrind has not written what it counted"
        time.sleep(0.1)


def measure(server, settings):
    server.start(settings)
    try:
        count(server, FEW)  # whatever the first session of a server has to do
        few = count(server, FEW)
        return [(more - less) / (MANY - FEW) for more, less in zip(count(server, MANY), few, strict=True)]
    finally:
        server.stop()


def main():
    bindir, directory = sys.argv[1:]
    server = Server(bindir, directory)
    counts = {}
    for name, settings, base, most in VARIANTS:
        counts[name], ours = measure(server, settings)
        if base is None:
            continue
        more = (counts[name] / counts[base] - 1) * 100
        measured = f"BEGIN; SELECT 1; END: {name}"
        rows.add(f"{measured} ({more:+.2f} %)", "instructions", [counts[name]], base, [counts[base]])
        if most is not None:
            share = ours / counts[base] * 100
            rows.add(f"{measured}, its own ({share:.2f} %)", "instructions", [ours], base, [counts[base]], f"<= {most} %",
                     share <= most)


main()
