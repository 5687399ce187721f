# What the Python companion does without a server: which line is the application's, what the comment says, and where it goes.
# Called by: test/clients/run companion_python.
# Must never: need a driver.

import contextvars
import os
import subprocess
import sys
import tempfile

from checks import Results

import pgleak_client
from pgleak_client import callers, failures, tags


def run_file(path, text, names):
    """Runs source as if it were in that file."""
    exec(compile(text, path, "exec"), names)
    return names


def test_sites(results):
    with tempfile.TemporaryDirectory() as directory:
        project, library = f"{directory}/shop", f"{directory}/shop/.venv/lib/python3/site-packages/orm"
        os.makedirs(f"{project}/app")
        open(f"{project}/pyproject.toml", "w").close()
        names = {"call_site": callers.call_site, "Stack": callers.Stack}
        run_file(f"{library}/orm.py", "def execute():\n    return call_site()\n\ndef stack():\n    return Stack()\n", names)
        run_file("<string>", "def generated():\n    return execute()\n", names)
        run_file(f"{project}/app/db.py", "def query():\n    return execute()\n", names)
        run_file(f"{project}/app/orders.py", "def direct():\n    return generated()\n\ndef through_helper():\n    return query()\n"
                 "def keep():\n    return stack()\n", names)
        results.check(names["direct"]() == "app/orders.py:2 direct", "the innermost frame outside of libraries is the one named",
                      names["direct"]())
        results.check(names["through_helper"]() == "app/db.py:2 query", "a helper of the application's own is application code")
        callers.configure(skip=["app/db.py"])
        results.check(names["through_helper"]() == "app/orders.py:5 through_helper", "unless it is to be skipped")
        callers.configure(root=library)
        results.check(names["direct"]() == "orm.py:2 execute", "a root in site-packages makes an installed application one")
        callers.configure()
        stack = names["keep"]()
        results.check(stack.lines()[0] == "app/orders.py:7 keep", "a stack names the lines that its frames had", stack.lines())
        results.check("  ... 1 frame of libraries" in stack.format(), "and counts frames of libraries", stack.format())
        results.check(f"in {test_sites.__name__}\n    stack = names[\"keep\"]()" in stack.format(), "with the source", stack.format())
    results.check(callers.call_site().startswith("test/clients/companion_python/units.py:"),
                  "without any such file, paths are relative to the working directory", callers.call_site())


def test_texts(results):
    comment = "/*code='a.py:1 f'*/"

    def appended(statement):
        return tags._append(statement, comment)

    for statement, expected, what in (
        ("SELECT 1", f"SELECT 1 {comment}", "the comment follows the statement"),
        ("SELECT 1;", f"SELECT 1 {comment};", "a semicolon stays the end"),
        ("SELECT 1; \n", f"SELECT 1 {comment};", "with spaces behind it, too"),
        ("SELECT 1 -- one", f"SELECT 1 -- one\n{comment}", "a comment to the end of the line does not swallow ours"),
        ("SELECT 1 -- one;", f"SELECT 1 -- one;\n{comment}", "nor one that ends with a semicolon"),
        ("SELECT 1 -- one\nFROM t", f"SELECT 1 -- one\nFROM t {comment}", "one that has ended does not matter"),
        ("SELECT 1; SELECT 2", f"SELECT 1; SELECT 2 {comment}", "several statements have it at the end of the last one"),
        ("/*+ SeqScan(t) */ SELECT 1", f"/*+ SeqScan(t) */ SELECT 1 {comment}", "planner hints stay in front"),
        ("", "", "an empty statement stays empty"),
        (" \n", "", "and so does one of spaces"),
        (b"SELECT 1", b"SELECT 1\n" + comment.encode(), "bytes stay bytes"),
        (17, 17, "what is no statement is left alone"),
    ):
        results.check(appended(statement) == expected, f"text: {what}", repr(appended(statement)))


def comment_with(route, traceparent=None, ask=True):
    def ask_for_it():
        tags.set_route(route)
        tags.set_traceparent(traceparent)
        return tags.current_comment(ask)
    return contextvars.copy_context().run(ask_for_it)


def test_values(results):
    trace = "00-5bd66ef5095369c7b0d1f8f4bd33716a-c532cb4098ac3dd2-01"
    results.check(",route='/orders/{id}'*/" in comment_with("/orders/{id}"), "the template of a route is readable")
    results.check("route" not in comment_with(""), "without a route there is none")
    results.check(",route='/now'*/" in comment_with(lambda: "/now"), "a route may be a function")
    results.check(f",traceparent='{trace}'*/" in comment_with("", trace), "the trace is added where it is asked for")
    results.check("traceparent" not in comment_with("", trace, False), "and only there")
    results.check("traceparent" not in comment_with("", trace + "'*/ DROP TABLE x"), "what is no traceparent is none")
    for value in ("'; DROP TABLE t; --", "*/ SELECT 1 /*", "\\'", "%s %(x)s %", "\0\n\r\t", "\udcff", "'", "ä€" * 500, "?:$1", "{}"):
        text = comment_with(value)
        body = text.partition("route=")[2][:-2]
        results.check(text.isascii() and text.isprintable() and body.count("'") == 2 and "*" not in body and len(text) < 2000,
                      f"value: {value[:20]!a} cannot leave its quotes", text)
    results.check(tags.tagged("SELECT %s", True).count("%") == 1, "without a percent sign there is nothing to double")

    def percent(interpolated):
        tags.set_route("ä")
        return tags.tagged("SELECT %s", interpolated)
    results.check("route='%%C3%%A4'" in contextvars.copy_context().run(percent, True), "where the driver interpolates, % is doubled")
    results.check("route='%C3%A4'" in contextvars.copy_context().run(percent, False), "where it does not, it is not")


def test_failures(results):
    lines = []
    failures.logger.warning, original = lambda *arguments, **options: lines.append(arguments), failures.logger.warning

    def broken():
        tags.set_route(lambda: 1 / 0)
        return [tags.tagged("SELECT 1", False) for _ in range(3)]
    statements = contextvars.copy_context().run(broken)
    failures.logger.warning = original
    results.check(statements == ["SELECT 1"] * 3, "a failure of the companion's own leaves the statement as it was", statements)
    results.check(len(lines) == 1, "and is logged once", lines)


def test_imports(results):
    imported = subprocess.run([sys.executable, "-c", "import pgleak_client, sys; print(*sys.modules)"], capture_output=True,
                              text=True, check=True).stdout.split()
    drivers = {"psycopg2", "psycopg", "asyncpg", "sqlalchemy", "django", "pytest", "starlette"} & set(imported)
    results.check(not drivers, "importing the package imports no driver", drivers)
    undocumented = [f"{module.__name__}.{name}" for module in (pgleak_client, callers, tags) for name, value in vars(module).items()
                    if callable(value) and not name.startswith("_") and getattr(value, "__module__", "").startswith("pgleak_client")
                    and not value.__doc__]
    results.check(not undocumented, "every public function says what it does", undocumented)


def main():
    results = Results()
    for test in (test_imports, test_sites, test_texts, test_values, test_failures):
        test(results)
    return results.failed


if __name__ == "__main__":
    sys.exit(1 if main() else 0)
