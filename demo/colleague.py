# The colleagues of the demonstration's shop, who use its database directly: one looks at a table and goes to lunch, another one
# ships a migration.
#
# demo/run calls this as `colleague.py DSN PART`, where PART is one of the functions in PARTS.

import signal
import sys

import psycopg2


def look_and_leave(dsn):
    """A person's graphical client with autocommit off: it has read something, and its transaction stays open."""
    session = psycopg2.connect(dsn, application_name="DBeaver 23.1 - Main")
    session.cursor().execute("SELECT * FROM product LIMIT 200")
    signal.pause()


def migrate(dsn):
    """A migration that takes a millisecond, once it has its lock."""
    session = psycopg2.connect(dsn, application_name="migration")
    session.cursor().execute("ALTER TABLE product ADD COLUMN weight numeric")
    session.commit()


PARTS = (look_and_leave, migrate)

if __name__ == "__main__":
    {part.__name__: part for part in PARTS}[sys.argv[2]](sys.argv[1])
