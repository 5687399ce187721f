# What the scenarios with real pools share: a role for each, programs that are started and stopped, requests, load,
#   and the questions to pgleak's views.
# Called by: the scenarios beside it, which test/clients/run starts one after the other on one throw-away cluster.
# Must never: leave a process behind, or ask PostgreSQL's own views what pgleak's should tell.

import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

from checks import Checks

APPS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "apps")
LOGS = os.environ["HOME"]  # the private directory of this test
EPISODES = "FROM pgleak.history WHERE role = %s AND application_name = %s"
POOL = "FROM pgleak.pools WHERE role = %s AND application_name = %s"


def die_with_parent():
    """In the child: be killed when the scenario is, however it ends."""
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Scenario(Checks):
    """One role, named after the scenario, and all that happens to its sessions."""

    patience = 60  # the machine may be busy

    def __init__(self, role, **settings):
        super().__init__()
        self.role = role
        self.programs = []
        cursor = self.admin.cursor()
        cursor.execute(f"CREATE ROLE {role} LOGIN IN ROLE customers")
        for name, value in settings.items():
            cursor.execute(f"ALTER ROLE {role} SET pgleak.{name} = %s", (value,))

    # --- what pgleak says ---

    def pool(self, column, application):
        """A column of the application's row in pgleak.pools; None without a row."""
        rows = self.ask_rows(f"SELECT {column} {POOL}", self.role, application)
        return rows[0][0] if rows else None

    def count_episodes(self, application, condition="true"):
        return self.ask(f"SELECT count(*) {EPISODES} AND ({condition})", self.role, application)

    def becomes(self, what, condition):
        """Checks that something becomes true, and shows what pgleak sees if it does not."""
        return self.check(self.wait_for(condition, pause=0.05), what, self.report)

    def pool_becomes(self, what, application, condition):
        return self.becomes(what, lambda: self.pool(condition, application))

    def has_episodes(self, what, application, count, condition):
        """Checks that so many of the application's episodes, and no others, are as told."""
        return self.becomes(what, lambda: (self.count_episodes(application), self.count_episodes(application, condition))
                            == (count, count))

    def all_episodes_are(self, what, application, condition):
        """The same of however many there are, but one at least."""
        return self.check(self.ask(f"SELECT count(*) > 0 AND bool_and({condition}) {EPISODES}", self.role, application),
                          what, self.report)

    def most_suspects(self, seconds, also=lambda: None):
        """Watches for a time and returns the most suspects that each application had at once."""
        most, until = {}, time.monotonic() + seconds
        while time.monotonic() < until:
            for name, suspects in self.ask_rows("SELECT application_name, suspects FROM pgleak.pools WHERE role = %s",
                                                self.role):
                most[name] = max(most.get(name, 0), suspects)
            also()
            time.sleep(0.2)
        return most

    def terminate_gives_nothing_back(self, name, application, pool, size):
        """
        Leaks all connections of a pool, terminates them, and shows that the pool does not notice before the application
        gives them back. `pool` can leak(), can say whether it is_refused() another and how many are in_use(), can
        be cured, and then works().
        """
        for _ in range(size):
            pool.leak()
        self.pool_becomes(f"{name}: {size} connections that are not given back are leaks", application,
                          f"leaked = {size} AND verdict = 'leaking' AND exhausted_at <= now()")
        self.check(pool.is_refused(), f"{name}: the pool has no other")
        self.check(self.ask("SELECT count(*) FILTER (WHERE pgleak.terminate(pid)) FROM pgleak.leaks"
                            " WHERE role = %s AND application_name = %s", self.role, application) == size,
                   f"{name}: pgleak.terminate() ends their sessions", self.report)
        self.has_episodes(f"{name}: which the history says", application, size, "outcome = 'terminated'")
        self.check(pool.in_use() == size, f"{name}: the pool still counts them as in use", pool.in_use)
        self.check(pool.is_refused(), f"{name}: and still refuses")
        pool.cure()
        self.check(pool.works(), f"{name}: once the application has given them back it works again")

    def report(self):
        """All that pgleak knows of the scenario, for whoever has to find out why it failed."""
        lines = [f"suspects={row[1]} {row[0]}" for row in self.ask_rows(
            "SELECT row_to_json(p)::text, p.suspects FROM pgleak.pools p WHERE role = %s", self.role)]
        lines += [row[0] for row in self.ask_rows(
            "SELECT concat_ws(' ', 'episode', leak_id, application_name, clock, state, tags, outcome, query)"
            " FROM pgleak.history WHERE role = %s ORDER BY detected_at", self.role)]
        lines += [row[0] for row in self.ask_rows(
            "SELECT concat_ws(' ', 'session', pid, application_name, state, now() - state_change, query)"
            " FROM pg_stat_activity WHERE usename = %s", self.role)]
        return "\n".join(lines)

    # --- programs ---

    def start(self, name, argv, env=None, **options):
        """Starts a program; what it says goes into a log file. It runs in the directory of the applications, which
        the companion shows paths relative to, wherever the tests were started."""
        log = open(os.path.join(LOGS, f"{self.role}-{name}.log"), "a")
        program = subprocess.Popen(argv, env={**os.environ, "PGUSER": self.role, **(env or {})}, stderr=log,
                                   preexec_fn=die_with_parent,
                                   **{"stdout": log, "stdin": subprocess.DEVNULL, "cwd": APPS, **options})
        program.log = log.name
        self.programs.append(program)
        return program

    def stop(self, program):
        """As an orchestrator does: ask, wait a moment, insist."""
        program.terminate()
        try:
            program.wait(3)
        except subprocess.TimeoutExpired:
            program.kill()
            program.wait()
        self.programs.remove(program)

    def serve(self, application, argv, env=None):
        """Starts a web server that takes its socket as "{fd}" in argv; returns it and the URL that it serves."""
        listener = socket.create_server(("127.0.0.1", 0))
        fd = listener.fileno()
        program = self.start(application, [part.format(fd=fd) for part in argv],
                             {"APPLICATION": application, **(env or {})}, pass_fds=[fd])
        # Requests queue in the socket until the server is there.
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.close()
        return program, url

    def finish(self):
        """Stops everything; the exit status of the scenario."""
        for program in list(self.programs):
            if self.failed:
                print(f"# the last lines of {os.path.basename(program.log)}:")
                with open(program.log, errors="replace") as log:
                    print("".join("#   " + line for line in log.readlines()[-30:]), flush=True)
            self.stop(program)
        return 1 if self.failed else 0


def run(make, body):
    """The main program of a scenario."""
    scenario = make()
    try:
        body(scenario)
    except BaseException as error:
        scenario.check(False, f"{scenario.role} runs to its end", f"{type(error).__name__}: {error}\n{scenario.report()}")
        if not isinstance(error, Exception):
            raise
    finally:
        status = scenario.finish()
    sys.exit(status)


def call(url, method="GET", timeout=60):
    """One request: its status and its body."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=timeout) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(errors="replace")


@contextlib.contextmanager
def repeated(action, pause):
    """Does something again and again in the meantime; what goes wrong is left to the caller's checks."""
    is_over = threading.Event()

    def repeat():
        while not is_over.wait(pause):
            with contextlib.suppress(Exception):
                action()

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


class UnevenLoad:
    """
    Requests that come unevenly, in threads: one at a time, and for the last part of every six seconds many at once.
    `request` takes a connection, uses it and gives it back.
    """

    def __init__(self, request, most):
        self.request = request
        self.is_over = threading.Event()
        self.done = 0
        self.errors = []
        self.threads = [threading.Thread(target=self._work, args=(i,), daemon=True) for i in range(most)]
        self.began = time.monotonic()
        for thread in self.threads:
            thread.start()

    def _work(self, number):
        while not self.is_over.wait(0.01):
            is_burst = (time.monotonic() - self.began) % 6 > 4.5
            if number > 0 and not is_burst:
                continue
            try:
                self.request()
                self.done += 1
            except Exception as error:  # noqa: BLE001 - each pool has its own
                self.errors.append(repr(error))

    def stop(self):
        self.is_over.set()
        for thread in self.threads:
            thread.join()


class Child:
    """
    A program with a pool that does what it is told, a line of JSON for each order, and answers so. Its orders are its
    methods: child.leak() sends ["leak"].
    """

    def __init__(self, scenario, name, argv, env=None):
        self.program = scenario.start(name, argv, env, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __getattr__(self, order):
        def give_order(*values):
            self.program.stdin.write(json.dumps([order, *values]).encode() + b"\n")
            self.program.stdin.flush()
            line = self.program.stdout.readline()
            if not line:
                raise RuntimeError(f"the program has ended at {order}, see {self.program.log}")
            return json.loads(line)

        return give_order
