"""Holds many sessions open for a test: hold_sessions.py CONNECTION_STRING COUNT

Reads one command per line, as JSON, and answers each with one line of JSON:
  {"run": ["BEGIN", "SELECT 1"]}  runs the statements in every session
  {"close": true}                 closes the sessions' connections, whatever they are doing
Both take "from" and "to" (default: all sessions) and "spread" (seconds over which the sessions' turns are spread).
"""

import json
import sys
import time

import psycopg2


def open_session(connection_string):
    session = psycopg2.connect(connection_string)
    session.autocommit = True  # BEGIN is the test's business
    return session


def run(session, statements):
    """True if all statements went well."""
    try:
        with session.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
        return True
    except psycopg2.Error:
        return False


def carry_out(command, sessions):
    chosen = sessions[command.get("from", 0) : command.get("to", len(sessions))]
    pause = command.get("spread", 0) / max(len(chosen), 1)
    start = time.monotonic()
    succeeded = 0
    for turn, session in enumerate(chosen):
        time.sleep(max(0, start + turn * pause - time.monotonic()))
        if "close" in command:
            session.close()
            succeeded += 1
        else:
            succeeded += run(session, command["run"])
    return {"succeeded": succeeded}


def answer(value):
    print(json.dumps(value), flush=True)


def main():
    connection_string, count = sys.argv[1], int(sys.argv[2])
    sessions = [open_session(connection_string) for _ in range(count)]
    answer({"pids": [session.get_backend_pid() for session in sessions]})
    for line in sys.stdin:
        answer(carry_out(json.loads(line), sessions))


main()
