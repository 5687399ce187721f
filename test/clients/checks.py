# What every test with real clients does: print a result, ask the server from outside, poll until something holds.
# Called by: drivers.py and pools/*.py, with PGHOST and PGPORT of a throw-away cluster.
# Must never: wait for a fixed time and hope.

import time

import psycopg2


class Results:
    """Prints the results, and counts those that fail."""

    def __init__(self):
        self.failed = 0

    def check(self, holds, what, detail=""):
        """Prints a result; the detail, or the function that makes it, is for failures."""
        print(f"{'ok' if holds else 'not ok'} - {what}", flush=True)
        if not holds:
            self.failed += 1
            text = str(detail() if callable(detail) else detail)
            print("\n".join("#   " + line for line in text.splitlines()), flush=True)
        return holds


class Checks(Results):
    """Looks at the server from outside as well."""

    patience = 10  # seconds

    def __init__(self):
        super().__init__()
        self.admin = psycopg2.connect("dbname=postgres user=postgres application_name=checks")
        self.admin.autocommit = True

    def ask(self, query, *values):
        cursor = self.admin.cursor()
        cursor.execute(query, values)
        return cursor.fetchone()[0]

    def ask_rows(self, query, *values):
        cursor = self.admin.cursor()
        cursor.execute(query, values)
        return cursor.fetchall()

    def wait_for(self, condition, pause=0.02):
        """Whether something becomes true."""
        deadline = time.monotonic() + self.patience
        while not condition():
            if time.monotonic() > deadline:
                return False
            time.sleep(pause)
        return True

    def wait_until(self, query, *values):
        """Whether a query about the server becomes true."""
        return self.wait_for(lambda: self.ask(query, *values), pause=0.005)


def error_of(action, *values):
    """The exception that an action raises; None if it raises none."""
    try:
        action(*values)
    except Exception as error:  # noqa: BLE001 - each driver has its own
        return error
    return None


def holds(condition, *values):
    """Whether a condition is true; not if it raises an error."""
    try:
        return bool(condition(*values))
    except Exception:  # noqa: BLE001 - each driver has its own
        return False
