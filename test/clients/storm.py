# The storm. Many clients of a real driver move money in all the ways transactions can be written, while others
#   cancel them in place and rebuild what the server caches; afterwards every single transfer is accounted for.
# Called by: test/clients/run, with PGHOST and PGPORT of a throw-away cluster with pgleak.max_actions_per_minute out of
#   the way, log_line_prefix '%m [%p] %e %x ' and the log file that --log names. Prints "ok - ..." and "not ok - ...";
#   exit status is the truth.
# Must never: look at command tags to learn whether a COMMIT succeeded (no driver does, that is the point), or forgive
#   an error that it cannot name.

import argparse
import asyncio
import itertools
import os
import random
import re
import sys
import time
from collections import Counter

import asyncpg

ISOLATION_LEVELS = ("read_committed", "repeatable_read", "serializable")
ACCOUNTS = 400
OPENING_BALANCE = 1000
# Limits cancel as well as hands do: between a client's ordinary pauses and its long ones, in seconds.
AUTOMATIC_CANCEL_AFTER = "50ms"
PAUSE, LONG_PAUSE = 0.008, 0.1
# No statement may take this long, not even with debug_discard_caches: one that does hangs.
PATIENCE = 180

# What asyncpg raises. The last of them if the server has just said that it ends the session, and has not hung up yet.
DRIVER_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, asyncpg.InternalClientError)

# What a client whose transaction is gone may hear: it is rolled back (at COMMIT), or aborted (at any other statement),
# and with the transaction went its portals and savepoints.
GONE = {"40000", "25P02", "34000", "3B001"}
# What befalls any busy client: serialization failure, deadlock, lock timeout, query cancelled (a hand hit an active one).
BUSY = {"40001", "40P01", "55P03", "57014"}

SCHEMA = f"""
CREATE TABLE accounts (id integer PRIMARY KEY, balance bigint NOT NULL) WITH (fillfactor = 90);
CREATE TABLE transfers (id bigint PRIMARY KEY, source integer NOT NULL, target integer NOT NULL, amount bigint NOT NULL,
                        xact xid8 NOT NULL DEFAULT pg_current_xact_id());
INSERT INTO accounts SELECT i, {OPENING_BALANCE} FROM generate_series(1, {ACCOUNTS}) i;
CREATE ROLE client_by_hand LOGIN;
CREATE ROLE client_limited LOGIN;
ALTER ROLE client_limited SET pgleak.idle_leak_after = '{AUTOMATIC_CANCEL_AFTER}';
ALTER ROLE client_limited SET pgleak.idle_cancel_after = '{AUTOMATIC_CANCEL_AFTER}';
GRANT SELECT, INSERT, UPDATE ON accounts, transfers TO client_by_hand, client_limited;
"""

# Nearly every statement here makes the server's caches stale, in backends that sleep in the client read with cursors
# on these very tables: what they rebuild when they are woken must not be aborted half-way.
TABLE_MAINTENANCE = (
    "ANALYZE accounts",
    "ANALYZE transfers",
    "VACUUM accounts",
    "VACUUM transfers",
    "ALTER TABLE accounts SET (fillfactor = {number})",
    "ALTER TABLE transfers SET (fillfactor = {number})",
    "ALTER TABLE accounts ALTER balance SET STATISTICS {number}",
    "CREATE TABLE IF NOT EXISTS scratch (id integer PRIMARY KEY, note text)",
    "ALTER TABLE IF EXISTS scratch ADD COLUMN IF NOT EXISTS extra_{number} integer DEFAULT 1",
    "DROP TABLE IF EXISTS scratch",
)
CATALOG_MAINTENANCE = tuple(
    f"{command} pg_{name}"
    for name in ("class", "attribute", "type", "index", "proc", "namespace", "statistic", "operator", "opclass", "am")
    for command in ("REINDEX TABLE", "REINDEX TABLE", "VACUUM")
)

# What the server's log may say above LOG: what the clients were told, and what whoever cancels was told.
LOGGED_ERRORS = GONE | BUSY | {"22012", "55006"}
LOGGED_WARNINGS = re.compile(
    r"session with PID \d+ (has moved on, no action was taken|is not in a transaction"
    r"|could not be interrupted safely, no action was taken)$"
    r"|transaction of session with PID \d+ is already aborted$"
    r"|there is no transaction in progress$"
)
LOG_ENTRY = re.compile(r"^\S+ \S+ \S+ \[(?P<pid>\d+)\] (?P<state>\w{5}) (?P<xid>\d+) (?P<level>[A-Z]+\d?):  (?P<text>.*)")
# The server itself ends a session whose caches, rebuilt when it is woken in the client read, lead into a deadlock. It
# takes a cursor, DDL on its table and a REINDEX of a catalog that the same transaction has read. This, and only this,
# may cost a client its connection here.
DEADLOCK, LOST_IN_DEADLOCK = "40P01", "terminating connection because protocol synchronization was lost"
NOT_ENTRIES = re.compile(r"TRAP:|terminated by signal|reinitializing|was interrupted|AddressSanitizer|stack smashing")


class Storm:
    """What all the parties share: when it is over, what went through, and what went wrong."""

    def __init__(self):
        self.is_over = False
        self.log_begin = 0  # where the log begins to be about the storm
        self.ids = itertools.count(1)
        self.transfers = {}  # id -> (source, target, amount), of every attempt
        self.committed = set()  # COMMIT returned without an exception
        self.commit_errors = {}  # id -> SQLSTATE of the exception that COMMIT raised
        self.retries = Counter()  # SQLSTATE -> attempts that failed with it
        self.cancels = Counter()  # what came of asking by hand
        self.latencies = []  # seconds, of the cancels that were done
        self.maintenance = Counter()
        self.surprises = []
        self.clients = []
        self.lost = set()  # process ids of sessions that the server ended
        self.missing = set()  # process ids that pgleak.cancel() did not find

    def surprise(self, who, what):
        self.surprises.append(f"{who}: {what}")


async def connect(user, database, **options):
    return await asyncpg.connect(user=user, database=database, command_timeout=PATIENCE, timeout=PATIENCE, **options)


async def connect_afterwards(database):
    """As superuser, and patiently: a server that has crashed comes back, and what it says then is of interest."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return await connect("postgres", database)
        except (asyncpg.PostgresError, OSError):
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.2)


async def pause():
    """An application that thinks, inside of its transaction."""
    dice = random.random()
    if dice < 0.6:
        await asyncio.sleep(random.expovariate(1 / PAUSE))
    elif dice < 0.63:
        await asyncio.sleep(LONG_PAUSE)


class Client:
    lock_timeout = "2s"

    def __init__(self, storm, number):
        self.storm = storm
        self.name = f"client {number}"
        self.role = "client_by_hand" if number % 2 else "client_limited"

    async def open(self):
        settings = {"application_name": self.name, "lock_timeout": self.lock_timeout}
        self.connection = await connect(self.role, "storm", server_settings=settings)
        self.connection.add_log_listener(self.hear)
        self.pid = self.connection.get_server_pid()
        while True:
            try:
                await self.prepare()
                return
            except asyncpg.QueryCanceledError:  # a session that comes back in the middle of the storm is hit at once
                self.note_cancel()

    async def prepare(self):
        self.add = await self.connection.prepare("UPDATE accounts SET balance = balance + $2 WHERE id = $1")
        self.note = await self.connection.prepare(
            "INSERT INTO transfers (id, source, target, amount) VALUES ($1, $2, $3, $4)")
        self.count = await self.connection.prepare("SELECT count(*) FROM transfers WHERE id = $1")
        # asyncpg prepares without a Sync, so the server is still in the implicit transaction of that.
        await self.count.fetchval(0)

    def note_cancel(self):
        self.storm.retries["57014"] += 1

    def hear(self, _, message):
        if message.severity not in ("NOTICE", "INFO") and message.sqlstate != "25P01":
            self.storm.surprise(self.name, f"{message.severity} {message.sqlstate} {message.message}")

    async def run(self):
        try:
            while not self.storm.is_over:
                await self.attempt()
                if self.connection.is_closed():
                    self.storm.lost.add(self.pid)
                    await self.open()
        except Exception as error:  # noqa: BLE001 - whatever it is, it must end up in the result
            self.storm.surprise(self.name, f"gave up: {type(error).__name__}: {error}")

    async def attempt(self):
        """One transaction, once. A retry is a new attempt with a new id, so that no outcome is ambiguous."""
        transfer = next(self.storm.ids)
        self.is_committing = False
        try:
            await self.begin()
            await self.work(transfer)
            self.is_committing = True
            await self.commit(transfer)
        except DRIVER_ERRORS as error:
            self.take_note(transfer, error)
        if not self.connection.is_closed():
            await self.settle()

    def take_note(self, transfer, error):
        state = "lost" if self.connection.is_closed() else getattr(error, "sqlstate", None)
        self.storm.retries[state] += 1
        if self.is_committing:
            self.storm.commit_errors[transfer] = state
        if state == "lost":
            return  # whether it may have been is for the log to say
        if state == "40000" and self.connection.is_in_transaction():
            self.storm.surprise(self.name, "still in the block whose COMMIT was refused")
        if state not in GONE | BUSY:
            self.storm.surprise(self.name, f"{type(error).__name__} {state} {error}")

    async def settle(self):
        """Leaves the transaction, if it is still in one. The ROLLBACK too may be hit by a cancel."""
        is_first = True
        for _ in range(100):
            if not self.connection.is_in_transaction():
                return
            try:
                # A COMMIT that was cancelled before it began leaves the block, but asyncpg will not roll it back.
                if is_first and self.transaction is not None and not self.is_committing:
                    is_first = False
                    await self.transaction.rollback()
                else:
                    await self.connection.execute("ROLLBACK")
            except asyncpg.QueryCanceledError:
                self.note_cancel()
        self.storm.surprise(self.name, "cannot leave its transaction")

    async def begin(self):
        isolation = random.choice(ISOLATION_LEVELS)
        self.transaction = None
        self.may_prepare = True
        if random.random() < 0.5:
            self.transaction = self.connection.transaction(isolation=isolation)
            try:
                await self.transaction.start()
            except asyncpg.PostgresError:
                await self.connection.reset()  # asyncpg 0.27 would take every later transaction for a nested one
                raise
        else:
            await self.connection.execute(f"BEGIN ISOLATION LEVEL {isolation.replace('_', ' ')}")

    async def work(self, transfer):
        source, target = self.choose_accounts()
        amount = random.randint(1, 50)
        self.storm.transfers[transfer] = (source, target, amount)
        steps = [lambda: self.note.fetch(transfer, source, target, amount), lambda: self.add.fetch(source, -amount),
                 lambda: self.add.fetch(target, amount)]
        for extra in self.choose_extras():
            steps.insert(random.randint(0, len(steps)), extra)
        await pause()
        for step in steps:
            await step()
            await pause()
        # Whoever may still run statements must still be in the transaction that did the above.
        if random.random() < 0.5 and await self.count.fetchval(transfer) != 1:
            self.storm.surprise(self.name, f"transfer {transfer} vanished inside of its transaction")
        await pause()

    def choose_accounts(self):
        return random.sample(range(1, ACCOUNTS + 1), 2)

    def choose_extras(self):
        extras = (self.use_savepoint, self.fail_in_savepoint, self.nest, self.read_portal, self.read_cursor,
                  self.use_temp_table, self.read_catalog, self.notify)
        return random.sample(extras, random.randint(0, 3))

    async def use_savepoint(self):
        await self.connection.execute("SAVEPOINT here")
        await self.add.fetch(random.randint(1, ACCOUNTS), 0)
        await pause()
        await self.connection.execute(random.choice(("RELEASE SAVEPOINT here", "ROLLBACK TO SAVEPOINT here")))

    async def fail_in_savepoint(self):
        """Idle in an aborted subtransaction: its parents still hold everything."""
        await self.connection.execute("SAVEPOINT fragile")
        try:
            await self.connection.fetch("SELECT 1 / $1::integer", 0)
        except asyncpg.DivisionByZeroError:
            pass
        await pause()
        await self.connection.execute("ROLLBACK TO SAVEPOINT fragile")

    async def nest(self):
        """The driver's own savepoints, three deep."""
        if self.transaction is None:
            return
        async with self.connection.transaction():
            async with self.connection.transaction():
                await self.add.fetch(random.randint(1, ACCOUNTS), 0)
                await pause()

    async def read_portal(self):
        if self.transaction is None:
            return  # asyncpg wants its own
        query = random.choice(("SELECT * FROM accounts", "SELECT * FROM accounts JOIN transfers ON source = accounts.id"))
        cursor = await self.connection.cursor(query)
        for _ in range(3):
            await cursor.fetch(10)
            await pause()

    async def read_cursor(self):
        """Left open: idle with it, every invalidation of its table makes the backend rebuild the relation."""
        name = f"cursor_{random.getrandbits(32)}"
        await self.connection.execute(f"DECLARE {name} CURSOR FOR SELECT * FROM accounts ORDER BY id; FETCH 5 FROM {name}")
        await pause()
        await self.connection.fetch(f"FETCH 5 FROM {name}")

    async def use_temp_table(self):
        self.may_prepare = False
        name = f"basket_{random.getrandbits(32)}"
        await self.connection.execute(f"CREATE TEMP TABLE {name} ON COMMIT DROP AS SELECT * FROM accounts LIMIT 3")
        await pause()
        await self.connection.fetch(f"SELECT * FROM {name}")

    async def read_catalog(self):
        """Holds locks on catalogs until the transaction ends, in the way of REINDEX."""
        await self.connection.fetch("SELECT count(*) FROM pg_class JOIN pg_type ON reltype = pg_type.oid")

    async def notify(self):
        self.may_prepare = False
        await self.connection.execute("NOTIFY storm, 'moved'")

    async def commit(self, transfer):
        """Commits in one of the ways there are, and believes in it unless it raises."""
        if self.transaction is not None:
            await self.transaction.commit()
            self.storm.committed.add(transfer)
            return
        ways = ["COMMIT", "END", "extended", "COMMIT AND CHAIN"] + ["PREPARE TRANSACTION"] * self.may_prepare
        way = random.choice(ways)
        if way == "extended":
            await self.connection.fetch("COMMIT")
        elif way == "PREPARE TRANSACTION":
            await self.connection.execute(f"PREPARE TRANSACTION 'transfer {transfer}'")
            await self.finish_prepared(transfer)
        else:
            await self.connection.execute(way)
        self.storm.committed.add(transfer)
        self.is_committing = False

    async def finish_prepared(self, transfer):
        while True:
            try:
                await self.connection.execute(f"COMMIT PREPARED 'transfer {transfer}'")
                return
            except asyncpg.QueryCanceledError:
                self.note_cancel()

    async def is_well(self):
        """In no transaction, and fit for another one."""
        connection = self.connection
        if connection.is_closed() or connection.is_in_transaction() or connection.get_server_pid() != self.pid:
            return False
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                await connection.execute("BEGIN")
                value = await connection.fetchval("SELECT 1")
                await self.count.fetchval(0)
                tag = await connection.execute("COMMIT")
                break
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, asyncio.TimeoutError) as error:
                # On a loaded machine, this process may sleep beyond the limit of the session.
                if getattr(error, "sqlstate", None) in GONE and time.monotonic() < deadline:
                    await connection.execute("ROLLBACK")
                    continue
                self.storm.surprise(self.name, f"is broken: {error}")
                return False
        return value == 1 and tag == "COMMIT" and not connection.is_in_transaction()


async def cancel_in_place(storm, name):
    """Cancels random clients: half the time whoever it is, else one that is idle in a transaction just now."""
    connection = await connect("postgres", "postgres")
    verdict = []
    connection.add_log_listener(lambda _, message: verdict.append(message))
    try:
        while not storm.is_over:
            pid = random.choice(storm.clients).pid
            if random.random() < 0.5:
                pid = await connection.fetchval("SELECT pid FROM pg_stat_activity WHERE usename LIKE 'client\\_%' AND state"
                                                " LIKE 'idle in transaction%' ORDER BY random() LIMIT 1") or pid
            verdict.clear()
            try:
                row = await connection.fetchrow("SELECT clock_timestamp() AS asked, pgleak.cancel($1) AS is_done,"
                                                " clock_timestamp() AS answered", pid)
            except asyncpg.ObjectInUseError:
                storm.cancels["refused: another request is in progress"] += 1
                continue
            except asyncpg.InvalidParameterValueError:
                storm.missing.add(pid)
                continue
            except asyncpg.PostgresError as error:
                storm.surprise(name, f"{error.sqlstate} {error}")
                continue
            await asyncio.sleep(0)  # lets the listener, called a turn later, hear
            if row["is_done"]:
                storm.cancels["done"] += 1
                storm.latencies.append((row["answered"] - row["asked"]).total_seconds())
            else:
                text = re.sub(r" with PID \d+|, no action was taken", "", verdict[0].message) if verdict else "without a word"
                storm.cancels[f"refused: {text}"] += 1
            await asyncio.sleep(random.uniform(0, 0.005))
    except Exception as error:  # noqa: BLE001
        storm.surprise(name, f"gave up: {type(error).__name__}: {error}")
    finally:
        await connection.close()


async def maintain(storm, name, statements):
    """Runs DDL and maintenance; being in somebody's way, it gives way."""
    connection = await connect("postgres", "storm", server_settings={"lock_timeout": "300ms"})
    try:
        while not storm.is_over:
            statement = random.choice(statements).format(number=random.randint(50, 100))
            try:
                await connection.execute(statement)
                storm.maintenance["done"] += 1
            except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
                storm.maintenance["gave way"] += 1
            await asyncio.sleep(random.uniform(0, 0.02))
    except Exception as error:  # noqa: BLE001
        storm.surprise(name, f"gave up at {statement}: {type(error).__name__}: {error}")
    finally:
        await connection.close()


class Checks:
    def __init__(self):
        self.failed = 0

    def check(self, holds, what, detail=()):
        print(f"{'ok' if holds else 'not ok'} - storm: {what}")
        if not holds:
            self.failed += 1
            for line in list(detail)[:12]:
                print(f"#   {line}")


async def check_ledger(storm, checks, admin):
    rows = {row["id"]: row for row in await admin.fetch("SELECT * FROM transfers")}
    attempted = set(storm.transfers)
    lost = storm.committed - rows.keys()
    ghosts = rows.keys() & storm.commit_errors.keys()
    strangers = rows.keys() - storm.committed - ghosts
    checks.check(not lost, f"each of {len(storm.committed)} transfers whose COMMIT succeeded is there",
                 [f"lost: {sorted(lost)}"])
    checks.check(not ghosts, f"none of {len(storm.commit_errors)} whose COMMIT raised is there",
                 [f"{i}: {storm.commit_errors[i]}" for i in ghosts])
    checks.check(not strangers, f"none of {len(attempted - storm.committed)} that were never committed is there",
                 [f"there: {sorted(strangers)}"])

    balances = dict.fromkeys(range(1, ACCOUNTS + 1), OPENING_BALANCE)
    for transfer in storm.committed:
        source, target, amount = storm.transfers[transfer]
        balances[source] -= amount
        balances[target] += amount
    found = {row["id"]: row["balance"] for row in await admin.fetch("SELECT * FROM accounts")}
    wrong = {i: (balances[i], found.get(i)) for i in balances if balances[i] != found.get(i)}
    checks.check(sum(found.values()) == ACCOUNTS * OPENING_BALANCE, "the sum of money is unchanged")
    checks.check(not wrong, "each account has what its committed transfers left in it", wrong.items())
    return rows


def read_log(path, begin):
    """From this place on: transactions rolled back in place, sessions lost in deadlocks, and entries that should not be there."""
    rolled_back, lost, bad = [], set(), []
    last_error = {}
    with open(path, encoding="utf-8", errors="replace") as log:
        log.seek(begin)
        for line in log:
            entry = LOG_ENTRY.match(line)
            if NOT_ENTRIES.search(line):
                bad.append(line.rstrip())
            if entry is None:
                continue
            level, text, pid = entry["level"], entry["text"], int(entry["pid"])
            if level == "LOG" and text.startswith("pgleak: transaction rolled back in place"):
                rolled_back.append(int(entry["xid"]))
            if level == "FATAL" and text == LOST_IN_DEADLOCK and last_error.get(pid) == DEADLOCK:
                lost.add(pid)
                continue
            if level == "ERROR":
                last_error[pid] = entry["state"]
            if level == "ERROR" and any(text == f"PID {gone} is not a client backend" for gone in lost):
                continue
            is_bad = level in ("FATAL", "PANIC") or (level == "ERROR" and entry["state"] not in LOGGED_ERRORS)
            if is_bad or (level == "WARNING" and not LOGGED_WARNINGS.match(text)):
                bad.append(line.rstrip())
    return rolled_back, lost, bad


SESSIONS_OF_WORKERS = "SELECT pid, backend_start FROM pg_stat_activity WHERE backend_type LIKE 'pgleak %' ORDER BY pid"


async def wait_until_quiet(admin):
    """Whether no leak stays open and no prepared transaction is left."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if await admin.fetchval("SELECT NOT EXISTS (SELECT FROM pg_prepared_xacts)") and await admin.fetchval(
                "SELECT pgleak.scan() = 0"):
            return True
        await asyncio.sleep(0.05)
    return False


async def check_afterwards(storm, checks, clients, workers, arguments):
    admin = await connect_afterwards("storm")
    pgleak = await connect_afterwards("postgres")
    well = [await client.is_well() for client in clients]
    checks.check(all(well), f"each of {len(clients)} sessions works",
                 [client.name for client, is_well in zip(clients, well) if not is_well])
    checks.check(not storm.surprises, "no client met anything unexpected", storm.surprises)
    rows = await check_ledger(storm, checks, admin)
    checks.check(await wait_until_quiet(pgleak), "no episode stays open, no transaction prepared")
    checks.check(await pgleak.fetch(SESSIONS_OF_WORKERS) == workers, "scanner and recorder are the ones they were")

    rolled_back, lost, bad = read_log(arguments.log, storm.log_begin)
    checks.check(storm.lost <= lost and storm.missing <= lost,
                 "no client lost its connection but in a deadlock of the server's own caches",
                 [f"lost: {storm.lost - lost}, not found by pgleak.cancel(): {storm.missing - lost}"])
    false_claims = {row["xact"] for row in rows.values()} & set(map(str, rolled_back))
    checks.check(not false_claims, "no transaction that the log calls rolled back was committed", false_claims)
    checks.check(not bad, "the server's log has no unexpected entry", bad)
    minimum = arguments.seconds if arguments.minimum is None else arguments.minimum
    checks.check(len(rolled_back) >= minimum, f"at least {minimum} transactions were rolled back in place")
    stats = await pgleak.fetchrow("SELECT * FROM pgleak.stats")
    await admin.close()
    await pgleak.close()
    return len(rolled_back), stats


def percentile(values, share):
    return 1000 * sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else float("nan")


def summarize(storm, rolled_back, stats):
    def listed(counter):
        return ", ".join(f"{what} {count}" for what, count in counter.most_common()) or "none"

    print(f"    transactions: {len(storm.transfers)} begun, {len(storm.committed)} committed")
    print(f"    retried, by SQLSTATE: {listed(storm.retries)}; COMMIT raised: {listed(Counter(storm.commit_errors.values()))}")
    print(f"    rolled back in place: {rolled_back}; by hand: {listed(storm.cancels)}")
    print(f"    pgleak.stats: cancels {stats['cancels']}, cancels_failed {stats['cancels_failed']}, skipped"
          f" {stats['skipped']}, leaks {stats['leaks']}, events_dropped {stats['events_dropped']}")
    print("    latency of pgleak.cancel() when done, ms: " + ", ".join(
        f"{name} {percentile(storm.latencies, share):.1f}"
        for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1))))
    print(f"    maintenance: {listed(storm.maintenance)}; sessions lost: {len(storm.lost)}")


async def main(arguments):
    storm, checks = Storm(), Checks()
    pgleak = await connect("postgres", "postgres")
    await pgleak.execute("CREATE EXTENSION pgleak")
    await pgleak.execute("CREATE DATABASE storm")
    admin = await connect("postgres", "storm")
    await admin.execute(SCHEMA)
    await admin.close()
    workers = await pgleak.fetch(SESSIONS_OF_WORKERS)
    await pgleak.close()

    # To make a database the server ends an autovacuum worker that is in its way, with a FATAL.
    storm.log_begin = os.path.getsize(arguments.log)
    clients = [Client(storm, number) for number in range(arguments.clients)]
    for client in clients:
        await client.open()
    storm.clients = clients
    parties = [client.run() for client in clients]
    parties += [cancel_in_place(storm, f"canceller {i}") for i in range(arguments.cancellers)]
    parties.append(maintain(storm, "maintenance of tables", TABLE_MAINTENANCE))
    parties.append(maintain(storm, "maintenance of catalogs", CATALOG_MAINTENANCE))
    tasks = [asyncio.create_task(party) for party in parties]
    deadline = time.monotonic() + arguments.seconds
    while time.monotonic() < deadline and not all(task.done() for task in tasks):
        await asyncio.sleep(0.1)
    storm.is_over = True
    await asyncio.gather(*tasks)
    rolled_back, stats = await check_afterwards(storm, checks, clients, workers, arguments)
    summarize(storm, rolled_back, stats)
    for client in clients:
        client.connection.terminate()
    return 1 if checks.failed else 0


def parse_arguments():
    parser = argparse.ArgumentParser(description="Cancels transactions of busy clients and accounts for each of them.")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--cancellers", type=int, default=2, help="loops that cancel by hand")
    parser.add_argument("--minimum", type=int, help="rollbacks in place that make it a storm; default: one per second")
    parser.add_argument("--log", required=True, help="the server's log")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(asyncio.run(main(parse_arguments())))
