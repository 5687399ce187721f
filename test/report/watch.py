"""The look at pgleak.top as people have it open: psql with \\watch 1, in a terminal of 120 columns (tmux).
Called by: test/report/run, with the directory of the server's programs and one for pictures. The cluster is named by
PGHOST and the like; its limits cancel only what blocks others.
Must never: take psql's own word for how wide a line is on a screen."""

import html
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time

import psycopg2

PATIENCE = 60  # seconds that anything may take
COLUMNS = 120
LONG = "a-name-as-long-as-a-name-can-be-in-this-server-which-is-63-byte"
WIDE = "在庫管理サービス"  # twice as wide as it has characters

PAGE = """<!DOCTYPE html><meta charset="utf-8"><style>body {{ margin: 0; padding: 18px; background: #12161b;
color: #e4e9ee; }} pre {{ margin: 0; font: 14px/1.4 "DejaVu Sans Mono", monospace; }}</style><pre>{}</pre>"""


def check(name, holds, detail=""):
    print(f"{'ok' if holds else 'not ok'} - {name}" + (f": {detail}" if detail and not holds else ""), flush=True)


def eventually(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


class Terminal:
    """A terminal of its own, seen through what is on its screen."""

    def __init__(self, socket, command):
        os.environ["TMUX_TMPDIR"] = tempfile.gettempdir()  # it does not look at TMPDIR
        self.tmux = ["tmux", "-u", "-L", socket, "-f", "/dev/null"]
        subprocess.run([*self.tmux, "new-session", "-d", "-x", str(COLUMNS), "-y", "30", command], check=True)

    def screen(self, *options):
        return subprocess.run([*self.tmux, "capture-pane", "-p", *options], check=True, capture_output=True,
                              text=True).stdout.rstrip().split("\n")

    def close(self):
        subprocess.run([*self.tmux, "kill-server"], check=False)


def open_session(database="postgres", **options):
    connection = psycopg2.connect(dbname=database, **options)
    connection.set_client_encoding("UTF8")
    return connection


def make_role(cursor, name):
    """Its name, or nothing where the server has none of such a name."""
    try:
        cursor.execute(f'CREATE ROLE "{name}" LOGIN')
    except psycopg2.errors.InvalidParameterValue:
        return None
    return name


def make_leaks(administrator):
    """A shop whose checkout blocks two others, and sessions with every kind of name that could break a table."""
    cursor = administrator.cursor()
    cursor.execute(f'CREATE ROLE "{LONG}" LOGIN SUPERUSER')
    two_lines = make_role(cursor, "two\nlines") or make_role(cursor, "two lines")  # from 19 on names have one line
    cursor.execute(f'CREATE ROLE "{WIDE}" LOGIN')
    cursor.execute("CREATE ROLE shop LOGIN; CREATE TABLE stock (id int PRIMARY KEY, n int)")
    cursor.execute("INSERT INTO stock VALUES (1, 1); GRANT ALL ON stock TO shop")
    cursor.execute(f"ALTER ROLE shop SET pgleak.idle_cancel_after = '1h'; ALTER ROLE \"{WIDE}\" SET client_encoding = 'UTF8'")
    sessions = []
    for options, statement in (
            ({"user": LONG, "application_name": LONG}, "SELECT\n\t'" + "wide ünïcödé " * 20 + "'"),
            ({"user": two_lines, "application_name": "worker"}, "/*route='/admin'*/ SELECT 1"),
            ({"user": WIDE, "application_name": "x"}, f"SELECT '{WIDE * 9}'"),
            ({"user": "shop", "application_name": "reports"}, "/*route='/orders/summary'*/ SELECT 1"),
            ({"user": "shop", "application_name": "shop-api"},
             "/*route='/checkout'*/ UPDATE stock SET n = n - 1 WHERE id = 1")):
        session = open_session(**options)
        session.cursor().execute(statement)
        sessions.append(session)
    waiters = [open_session(user="shop") for _ in range(2)]
    for waiter in waiters:
        threading.Thread(target=wait_for_stock, args=(waiter,), daemon=True).start()
    return sessions, waiters


def wait_for_stock(session):
    try:
        session.cursor().execute("SELECT * FROM stock WHERE id = 1 FOR UPDATE")
    except psycopg2.Error:
        pass  # the test is over


def is_row(line):
    return line.split("|")[0].strip().isdigit()


def main():
    bindir, pictures = sys.argv[1], pathlib.Path(sys.argv[2])
    administrator = open_session()
    administrator.autocommit = True
    sessions, waiters = make_leaks(administrator)
    pids = {session.info.backend_pid: session for session in sessions}
    cursor = administrator.cursor()

    def has(query):
        cursor.execute(query)
        return cursor.fetchone()[0]

    check("the sessions leak, and one blocks two others", eventually(
        lambda: has(f"SELECT count(*) >= {len(sessions)} AND max(blocked) = 2 FROM pgleak.leaks")))
    cursor.execute("SELECT count(*) FROM pgleak.leaks")
    open_leaks = cursor.fetchone()[0]

    terminal = Terminal(str(pictures.parent.name), f"{bindir}/psql -X -P pager=off")
    try:
        subprocess.run([*terminal.tmux, "send-keys", r"SELECT * FROM pgleak.top \watch 1", "Enter"], check=True)
        check("\\watch shows them again and again", eventually(
            lambda: sum(is_row(line) for line in terminal.screen()) >= 2 * open_leaks))
        screen = terminal.screen()
        # -J joins what the terminal has wrapped. psql may print between two captures: then they differ once.
        check("no line is wrapped", eventually(
            lambda: terminal.screen() == [line.rstrip() for line in terminal.screen("-J")]), "\n".join(screen))
        rows = [line for line in screen if is_row(line)]
        others = {line for line in screen if line.strip() and not is_row(line)}
        check("each leak is one line", all(line.count("|") == rows[0].count("|") for line in rows), "\n".join(rows))
        check("nothing else is on the screen than what psql adds", all(
            "pgleak.top" in line or "(every 1s)" in line or line.startswith(("psql", 'Type "help"', "(")) or
            "role@database" in line or set(line) <= set("-+ ") for line in others), "\n".join(others))
        first = rows[-open_leaks]
        check("the worst comes first", "/checkout" in first and "| 2 |" in " ".join(first.split()), first)
        check("the next action is there, and when", "cancel 59m" in first, first)
        check("every leak is there", {int(line.split("|")[0]) for line in rows} >= set(pids), "\n".join(rows))
        picture = [line for line in terminal.screen() if line.strip()]
        last = max(i for i, line in enumerate(picture) if "(every 1s)" in line)
        previous = max(i for i, line in enumerate(picture[:last]) if "(every 1s)" in line)
        # One row is left out for want of a font, and with it their number.
        shown = [line for line in picture[previous:last] if WIDE[0] not in line and not line.startswith("(")]
        (pictures / "top.html").write_text(PAGE.format(html.escape("\n".join(shown))), "utf-8")
    finally:
        terminal.close()
        for waiter in waiters:
            cursor.execute("SELECT pg_terminate_backend(%s)", (waiter.info.backend_pid,))
        for session in sessions:
            session.close()
        eventually(lambda: has("SELECT count(*) > 0 AND bool_and(ended_at IS NOT NULL) FROM pgleak.history"))
        cursor.execute("DELETE FROM pgleak.history")


if __name__ == "__main__":
    main()
