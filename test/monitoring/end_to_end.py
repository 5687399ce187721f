# What somebody sees who watches pgleak through Prometheus: leaks become alerts and cease to be, every panel of the
#   dashboard shows something, both exporters say the same.
# Called by: test/monitoring/run, with PGHOST and PGPORT of a server that setup.sql has set up, and the addresses of an
#   exporter and of Prometheus. Prints "ok - ..." and "not ok - ..."; exit status is the truth.
# Must never: leave a process stopped, look at a file of pgleak's other than the dashboard, or wait for a fixed time.

import argparse
import contextlib
import json
import math
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request

import psycopg2

PATIENCE = 60
JOBS = {"pgleak", "pgleak_sql"}
# A label's values must not grow in number with sessions. The first three come from scraping.
BOUNDED_LABELS = {"instance", "job", "server", "application", "clock", "database", "kind", "outcome", "role", "route",
                  "slot", "verdict"}
LEAK_ALERTS = ["PgleakLeak", "PgleakLeakBlocks", "PgleakSessionBlocks", "PgleakPoolBusy", "PgleakPoolExhaustion"]
SHOP = {"database": "postgres", "role": "shop", "application": "shop-api"}

failures = 0


def check(name, is_good, found=None):
    global failures
    print(f"{'ok' if is_good else 'not ok'} - {name}", flush=True)
    if not is_good:
        failures += 1
        print(f"    found: {found}", flush=True)


def fetch(url):
    with urllib.request.urlopen(url, timeout=PATIENCE) as response:
        return response.read().decode()


def ask(path, **parameters):
    """An answer of Prometheus's HTTP API."""
    answer = json.loads(fetch(f"{options.prometheus}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"))
    assert answer["status"] == "success", answer
    return answer["data"]


def query(expression):
    """The result of an instant query: a list of (labels, value)."""
    return [(sample["metric"], float(sample["value"][1])) for sample in ask("query", query=expression)["result"]]


def wait_for(name, look, is_good=bool):
    """Polls until what is seen is good, and makes a check of it. Returns what was seen last."""
    deadline = time.monotonic() + PATIENCE
    seen = None
    while time.monotonic() < deadline:
        try:
            seen = look()
        except OSError as error:  # it has yet to start
            seen = error
        else:
            if is_good(seen):
                check(name, True)
                return seen
        time.sleep(0.1)
    check(name, False, seen)
    return seen


def firing(alert, **labels):
    """The alerts of that name that fire, for each of the two exporters."""
    return [
        found
        for found in ask("alerts")["alerts"]
        if found["state"] == "firing"
        and found["labels"]["alertname"] == alert
        and all(found["labels"].get(label) == value for label, value in labels.items())
    ]


def wait_for_alert(name, alert, **labels):
    """Until it fires through both exporters."""
    return wait_for(
        name, lambda: firing(alert, **labels), lambda alerts: {found["labels"]["job"] for found in alerts} == JOBS
    )


def wait_for_silence(name, *alerts):
    wait_for(name, lambda: [found for alert in alerts for found in firing(alert)], lambda found: not found)


def connect(application, role="shop"):
    connection = psycopg2.connect(dbname="postgres", user=role, application_name=application)
    connection.autocommit = True
    return connection


def leak(application, statement):
    """A session that an application took and never gave back."""
    connection = connect(application)
    for step in "BEGIN", statement:
        connection.cursor().execute(step)
    return connection


def worker_pid(backend_type):
    with contextlib.closing(connect("", role="postgres")) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pid FROM pg_stat_activity WHERE backend_type = %s", [backend_type])
        return cursor.fetchone()[0]


def check_scraping():
    up = wait_for("Prometheus scrapes both exporters", lambda: query("up == 1"), lambda found: len(found) == len(JOBS))
    check("they are the two jobs of the scrape configuration", {labels["job"] for labels, _ in up} == JOBS, up)


def check_lint():
    lines = fetch(f"{options.exporter}/metrics").splitlines(keepends=True)
    ours = "".join(line for line in lines if re.match(r"(# (HELP|TYPE) )?pgleak_", line))
    lint = subprocess.run(["promtool", "check", "metrics"], input=ours, text=True, capture_output=True)
    check("promtool has nothing to say about the metrics", lint.returncode == 0 and not lint.stderr, lint.stderr)
    check("all of them are described", ours.count("# HELP ") == ours.count("# TYPE ") > 10, ours)


def series_of(job):
    """All series of pgleak from one exporter, without what tells the exporters apart."""
    ignored = {"job", "instance", "server"}
    found = query(f'{{__name__=~"pgleak_.+", job="{job}"}}')
    return {tuple(sorted((k, v) for k, v in labels.items() if k not in ignored)) for labels, _ in found}


def check_series():
    wait_for(
        "both exporters give the same series",
        lambda: [series_of(job) for job in sorted(JOBS)],
        lambda series: series[0] == series[1] and len(series[0]) > 10,
    )
    names = {label for labels, _ in query('{__name__=~"pgleak_.+"}') for label in labels} - {"__name__"}
    check("no label is unbounded", names <= BOUNDED_LABELS, names - BOUNDED_LABELS)
    applications = {labels["application"] for labels, _ in query("pgleak_sessions")}
    check("a session without application_name is unknown", "unknown" in applications, applications)
    routes = {(labels["application"], labels["route"]) for labels, _ in query("pgleak_route_sessions")}
    check("the route is known", {("shop-api", "/orders"), ("shop-api", "/checkout")} <= routes, routes)


def panels():
    """Every panel of the dashboard, also those inside rows."""
    with open(options.dashboard, encoding="utf-8") as file:
        rows = json.load(file)["panels"]
    return [panel for row in rows for panel in [row, *row.get("panels", [])] if panel["type"] != "row"]


def check_dashboard_file():
    with open(options.dashboard, encoding="utf-8") as file:
        dashboard = json.load(file)
    ids = [panel["id"] for panel in panels()]
    check("the dashboard's panels have numbers of their own", len(ids) == len(set(ids)) > 5, ids)
    check("the dashboard itself has none", dashboard["id"] is None, dashboard["id"])
    variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
    check("the data source is a variable", variables["datasource"]["type"] == "datasource", variables)
    expected = {"type": "prometheus", "uid": "${datasource}"}
    sources = [panel["datasource"] for panel in panels()]
    sources += [target["datasource"] for panel in panels() for target in panel["targets"]]
    sources += [variable["datasource"] for variable in variables.values() if variable["type"] == "query"]
    check("everything in it uses that variable", all(source == expected for source in sources), sources)
    targets = [(panel["title"], target) for panel in panels() for target in panel["targets"]]
    check("every panel asks something", all(panel["targets"] for panel in panels()), targets)
    check("every question has an expression", all(target["expr"].strip() for _, target in targets), targets)
    check("the questions of a panel differ in refId", len(targets) == len({(t, x["refId"]) for t, x in targets}), targets)


def check_dashboard():
    for panel in panels():
        for target in panel["targets"]:
            # As Grafana does with "All" chosen and a rather short time shown.
            expression = target["expr"].replace("$instance", ".*").replace("$__rate_interval", "1m")
            wait_for(
                f"the panel \"{panel['title']}\" has data for {target['refId']}: {target['expr']}",
                lambda expression=expression: query(expression),
                lambda found: any(not math.isnan(value) for _, value in found),
            )


def check_leaks():
    """Leaks use 9 of the shop's 10 connections, and one of them has others wait. Returns a function that ends them."""
    opened = [leak("shop-api", "/*route='/orders'*/ SELECT 1") for _ in range(7)]
    opened.append(leak("shop-api", "/*route='/checkout'*/ UPDATE product SET stock = stock - 1 WHERE id = 1"))
    opened.append(leak("", "SELECT 1"))
    waiting = connect("shop-jobs", role="postgres")
    update = "UPDATE product SET stock = stock + 1 WHERE id = 1"
    waiter = threading.Thread(target=lambda: waiting.cursor().execute(update))
    waiter.start()

    def end():
        for connection in opened:
            connection.close()
        waiter.join(PATIENCE)
        waiting.close()

    wait_for_alert("a leak fires an alert", "PgleakLeak", **SHOP)
    wait_for_alert("a leak that others wait for fires another", "PgleakLeakBlocks", **SHOP)
    wait_for_alert("a pool that is full of leaks fires one with the verdict", "PgleakPoolBusy", **SHOP, verdict="leaking")
    wait_for_alert("a pool that will soon be exhausted fires one", "PgleakPoolExhaustion", **SHOP)
    return end


def check_blocking():
    """A session that works keeps another one waiting: no leaked connection, but an alert of its own."""
    working = connect("migration", role="postgres")
    waiting = connect("shop-jobs", role="postgres")
    work = "BEGIN; LOCK TABLE product; SELECT pg_sleep(600)"
    with contextlib.closing(connect("", role="postgres")) as watching, watching.cursor() as cursor:
        worker = threading.Thread(target=ignore_cancel, args=(working, work))
        worker.start()
        wait_for("a migration has its lock", lambda: is_locked(cursor))
        waiter = threading.Thread(target=lambda: waiting.cursor().execute("SELECT FROM product"))
        waiter.start()
        labels = {"database": "postgres", "role": "postgres", "application": "migration"}
        wait_for_alert("a session that keeps others waiting fires an alert", "PgleakSessionBlocks", **labels)
        check("and not that of a leak", not firing("PgleakLeak", **labels), firing("PgleakLeak", **labels))
        cursor.execute("SELECT pgleak.cancel(%s)", [working.info.backend_pid])
        for thread in worker, waiter:
            thread.join(PATIENCE)
    for connection in working, waiting:
        connection.close()
    wait_for_silence("and ceases to when it no longer does", "PgleakSessionBlocks")


def is_locked(cursor):
    cursor.execute("SELECT count(*) FROM pg_locks WHERE relation = 'product'::regclass AND granted")
    return cursor.fetchone()[0] == 1


def ignore_cancel(connection, statement):
    with contextlib.suppress(psycopg2.Error):
        connection.cursor().execute(statement)


def check_horizon():
    """A transaction that holds back VACUUM, and a slot that keeps WAL."""
    holding = leak("reports", "SELECT pg_current_xact_id()")
    with contextlib.closing(connect("", role="postgres")) as connection, connection.cursor() as cursor:
        for _ in range(10):
            cursor.execute("SELECT pg_current_xact_id()")
        wait_for_alert("an old transaction fires an alert", "PgleakHorizonHeld", kind="session")
        wait_for_alert("a slot that keeps WAL fires one", "PgleakSlotKeepsWal", slot="old_replica")
        holding.close()
        cursor.execute("SELECT pg_drop_replication_slot('old_replica')")
    wait_for_silence("and both cease to when they have ended", "PgleakHorizonHeld", "PgleakSlotKeepsWal")


def check_scanner():
    pid = worker_pid("pgleak scanner")
    os.kill(pid, signal.SIGSTOP)
    try:
        wait_for_alert("a scanner that has stopped fires an alert", "PgleakScannerStale")
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_for_silence("and ceases to when it goes on", "PgleakScannerStale")


def check_recorder():
    """Somebody locks the history, which itself is a leak to be recorded. Not against readers: exporters read sizes."""
    locking = connect("", role="postgres")
    locking.cursor().execute("BEGIN; LOCK TABLE pgleak.history IN SHARE MODE")
    wait_for_alert("a history that cannot be written fires an alert", "PgleakNotRecording")
    locking.close()
    wait_for_silence("and ceases to when it can", "PgleakNotRecording")


def main():
    check_dashboard_file()
    check_scraping()
    check_lint()
    end_leaks = check_leaks()
    try:
        check_series()
        check_dashboard()
    finally:
        end_leaks()
    wait_for_silence("the alerts cease when the leaks have ended", *LEAK_ALERTS)
    check_blocking()
    check_horizon()
    check_scanner()
    check_recorder()


arguments = argparse.ArgumentParser()
arguments.add_argument("--prometheus", required=True)
arguments.add_argument("--exporter", required=True)
arguments.add_argument("--dashboard", required=True)
options = arguments.parse_args()
main()
sys.exit(1 if failures else 0)
