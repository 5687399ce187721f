# The plugin for pytest, as a team uses it: a test suite of a small project, with and without leaks.
# Called by: test/clients/run companion_python, with PGHOST and PGPORT of a throw-away cluster and the installed companion.
# Must never: share a process with the tests that it runs.

import os
import subprocess
import sys
import tempfile

from checks import Checks

PROJECT = {
    "pyproject.toml": "[tool.pytest.ini_options]\n",
    "shop.py": '''
import pgleak_client.sqlalchemy
import sqlalchemy
from sqlalchemy import text
from sqlalchemy.orm import Session

engine = sqlalchemy.create_engine("postgresql+psycopg2://postgres@/postgres")
pgleak_client.sqlalchemy.install(engine)
kept = []

def good():
    with Session(engine) as session:
        return session.execute(text("SELECT 1")).scalar()

def leak():
    session = Session(engine)
    kept.append(session)
    session.execute(text("SELECT 1"))
    return session.execute(text("SELECT 2")).scalar()
''',
    "test_good.py": '''
import psycopg2
import pytest
import shop

@pytest.fixture
def session():
    with shop.Session(shop.engine) as session:
        yield session

@pytest.fixture(scope="module")
def module_session():
    session = shop.Session(shop.engine)
    session.execute(shop.text("SELECT 1"))
    yield session
    session.close()

def test_good():
    assert shop.good() == 1

def test_fixture_that_cleans_up(session):
    assert session.execute(shop.text("SELECT 1")).scalar() == 1

def test_fixture_that_outlives_the_test(module_session):
    assert module_session.execute(shop.text("SELECT 1")).scalar() == 1

def test_with_the_same_fixture(module_session):
    assert shop.good() == 1

def test_connection_that_is_dropped():
    psycopg2.connect("dbname=postgres user=postgres").cursor().execute("SELECT 1")
''',
    "test_leaking.py": '''
import psycopg2
import shop

kept = []

def test_leak():
    assert shop.leak() == 2

def test_after_the_leak():
    assert shop.good() == 1

def test_without_companion():
    connection = psycopg2.connect("dbname=postgres user=postgres")
    kept.append(connection)
    connection.cursor().execute("SELECT 17")

def test_that_fails_anyway():
    assert shop.leak() == 3
''',
}


def run(directory, *arguments, **environment):
    """The exit status and the output of pytest in the project."""
    result = subprocess.run(["/usr/bin/python3", "-B", "-m", "pytest", "-p", "no:cacheprovider", "--color=no", *arguments],
                            cwd=directory, capture_output=True, text=True, check=False, env={**os.environ, **environment})
    return result.returncode, result.stdout + result.stderr


def body(checks, directory):
    for name, content in PROJECT.items():
        with open(os.path.join(directory, name), "w") as file:
            file.write(content)
    dsn = "--pgleak-dsn=dbname=postgres user=postgres"

    status, output = run(directory, "test_good.py", dsn)
    checks.check(status == 0 and "5 passed" in output, "pytest: tests that clean up pass", output)
    status, output = run(directory, "test_leaking.py")
    checks.check(status == 1 and "1 failed, 3 passed" in output, "pytest: without a connection string nothing is checked", output)

    status, output = run(directory, "test_leaking.py", dsn)
    checks.check(status == 1 and "ERROR at teardown of test_leak " in output
                 and "the test left a transaction open on the server" in output, "pytest: a test that leaves a transaction open fails",
                 output)
    checks.check("\nshop.py:19 leak\n" in output, "pytest: with file and line", output)
    checks.check("last statement: SELECT 2" in output, "pytest: and the statement", output)
    checks.check('  File "shop.py", line 18, in leak\n' in output and '  File "test_leaking.py", line 8, in test_leak\n' in output,
                 "pytest: and the stack that took the connection", output)
    checks.check("teardown of test_after_the_leak" not in output, "pytest: the next test is not blamed", output)
    checks.check("last statement: SELECT 17" in output and "unknown code" in output,
                 "pytest: a connection without the companion is found, too", output)
    checks.check("1 failed, 3 passed, 3 errors" in output, "pytest: a test that fails says so and what it left", output)

    status, output = run(directory, "test_leaking.py", dsn, "--pgleak-application-name=another")
    checks.check("1 failed, 3 passed" in output and "error" not in output, "pytest: sessions of another name are not looked at", output)
    status, output = run(directory, "test_leaking.py::test_leak", "-o", f"pgleak_dsn={dsn.partition('=')[2]}")
    checks.check("1 passed, 1 error" in output, "pytest: the connection string may be in the ini file", output)
    status, output = run(directory, "test_leaking.py::test_leak", dsn, PGAPPNAME="taken")
    checks.check("1 passed, 1 error" in output, "pytest: a name in the environment is kept", output)
    with open(os.path.join(directory, "shop.py"), "r+") as file:
        text = file.read().replace("@/postgres", "@/postgres?application_name=shop-api")
        file.seek(0)
        file.write(text)
    status, output = run(directory, "test_leaking.py::test_leak", dsn)
    checks.check("1 passed, 1 error" in output, "pytest: the companion's connections are known, whatever their name", output)
    status, output = run(directory, "test_good.py", "--pgleak-dsn=host=/nowhere")
    checks.check(status == 4 and "pgleak: cannot check for open transactions:" in output, "pytest: a server that is not there is an error",
                 output)


def main():
    checks = Checks()
    if checks.ask("SELECT count(*) = 0 FROM pg_proc WHERE proname = 'open_transactions'"):
        print("# the plugin for pytest is skipped: this pgleak has no open_transactions()")
        return 0
    with tempfile.TemporaryDirectory() as directory:
        body(checks, directory)
    return 1 if checks.failed else 0


if __name__ == "__main__":
    sys.exit(main())
