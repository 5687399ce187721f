# The storm of holders. Sessions that keep what others wait for, in every way that is not "idle in transaction": stalled
#   COPY and pipelines, results and notifications that nobody reads, session-level advisory locks, rows held by working
#   transactions, commits that wait for a standby that is frozen or dead. Limits and hands end them all the time.
#   Afterwards every change is accounted for, on the primary and on the standby, and every session that was hit is in
#   the history.
# Called by: test/clients/run, with PGHOST and PGPORT of a throw-away cluster, the log file that --log names, and a
#   standby (--standby) that replicates from it and does nothing else. Prints "ok - ..." and "not ok - ..."; exit status
#   is the truth.
# Must never: forgive an error that it cannot name, or judge by how long something took.

import argparse
import asyncio
import itertools
import json
import os
import random
import re
import socket
import sys
import time
from collections import Counter, namedtuple

import asyncpg
import psycopg

import storm as plain
from standby import NAME as STANDBY, Standby
from storm import ACCOUNTS, DRIVER_ERRORS, LOG_ENTRY, NOT_ENTRIES, OPENING_BALANCE, PATIENCE, SESSIONS_OF_WORKERS, Checks, connect
from wire import Gone, Wire

# Limits by role; client_limited (idle cancel) and client_by_hand (no limits) are those of the plain storm.
ROLES = {
    "client_idle_terminate": {"idle_leak_after": "300ms", "idle_terminate_after": "1s"},
    "client_blocking_cancel": {"blocking_leak_after": "200ms", "blocking_cancel_after": "400ms"},
    "client_blocking_terminate": {"blocking_leak_after": "200ms", "blocking_terminate_after": "800ms"},
    "client_watched": {"blocking_leak_after": "200ms", "idle_leak_after": "500ms"},
}
KEYS = 6  # advisory locks
HOT = 6  # accounts that everybody wants
SCHEMA = plain.SCHEMA + "\n".join(
    f"CREATE ROLE {role} LOGIN;" + "".join(f"ALTER ROLE {role} SET pgleak.{name} = '{value}';"
                                           for name, value in limits.items())
    for role, limits in ROLES.items()) + f"""
CREATE TABLE copied (batch bigint, line integer, PRIMARY KEY (batch, line));
CREATE TABLE piped (id bigint PRIMARY KEY);
CREATE TABLE tally (id integer PRIMARY KEY, value bigint NOT NULL);
INSERT INTO tally SELECT i, 0 FROM generate_series(1, {KEYS}) i;
GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO client_by_hand, client_limited, {", ".join(ROLES)};
"""

# What a client hears when the server ends its session: pgleak's own words, or those of SIGTERM.
ENDED = {"25P03", "57P01"}
# What a client may provoke by dying: the server finds out in the middle of COPY, or when it sends.
DIED = {"08006", "08P01", "08003", "57P01"}
LOGGED_ERRORS = plain.LOGGED_ERRORS
LOGGED_WARNINGS = re.compile(
    plain.LOGGED_WARNINGS.pattern
    + r"|session with PID \d+ waits for a synchronous standby, nothing was done$"
    r"|session with PID \d+ did not react to the (cancel|terminate)$"
    r"|PID \d+ is not a client backend$")
HARMLESS_ERRORS = re.compile(r'session with PID \d+ is starting up or has ended$'
                             r'|prepared transaction with identifier "transfer \d+" does not exist$')

# Each of these must have been seen a few times, or the storm did not test it: name -> condition on the history.
KINDS = {
    "stalled COPY": "clock = 'idle' AND state = 'active' AND application_name LIKE 'copy %'",
    "pipeline without Sync": "clock = 'idle' AND state = 'active' AND application_name LIKE 'pipeline %'",
    "unread result": "clock = 'idle' AND state = 'active' AND application_name LIKE 'unread %'",
    "stuck listener": "clock = 'idle' AND state = 'idle' AND application_name LIKE 'listener %'",
    "advisory lock of an idle session": "clock = 'blocking' AND state = 'idle' AND application_name LIKE 'advisory %'",
    "blocking while active": "clock = 'blocking' AND state = 'active'",
    "blocking while idle in transaction": "clock = 'blocking' AND state LIKE 'idle in transaction%'",
    "outcome released": "outcome = 'released'",
    "outcome terminated": "outcome = 'terminated'",
    "outcome cancelled": "outcome = 'cancelled'",
    "outcome committed": "outcome = 'committed'",
    "terminated by the idle clock": "outcome = 'terminated' AND action_source = 'session' AND clock = 'idle'",
    "terminated by the blocking clock": "outcome = 'terminated' AND action_source = 'session' AND clock = 'blocking'",
    "cancelled by the blocking clock": "outcome = 'cancelled' AND action_source = 'session' AND clock = 'blocking'",
    "ended by hand": "outcome IN ('cancelled', 'terminated') AND action_source LIKE 'by hand%'",
    "terminated while idle outside of a transaction": "outcome = 'terminated' AND state = 'idle'",
}
ENOUGH = 3

# A session met something that only pgleak does, between two moments of this machine's clock.
Hit = namedtuple("Hit", "pid who what began seen")


class HolderStorm(plain.Storm):
    def __init__(self):
        super().__init__()
        self.hits = []  # statements cancelled, transactions refused
        self.ends = []  # connections that the server ended
        self.unknown = set()  # transfers whose COMMIT was in flight when the connection was lost
        self.never = {}  # transfers that cannot be there -> why
        self.acknowledged = set()  # transfers committed while each commit needed the standby
        self.batches = {}  # like transfers, of COPY and pipelines: (table, id) -> "done", "failed" or "unknown"
        self.batches_acknowledged = set()
        self.requirement = None  # a number while each commit needs the standby
        self.requirements = itertools.count(1)
        self.died = set()  # process ids of sessions whose client died
        self.told = 0
        self.seen = Counter()  # what the parties did
        self.unreplicated = []

    def hit(self, party, what):
        self.hits.append(Hit(party.pid, party.name, what, party.began, time.time()))

    def tell(self, party):
        """A driver may pass a notice on when its party has gone on already."""
        self.told += 1
        self.hits.append(Hit(party.pid, party.name, "notice", party.alive, time.time()))

    def ended(self, party, error=None):
        self.ends.append(Hit(party.pid, party.name, error or "connection lost", party.alive, time.time()))

    def note_batch(self, table, number, state, requirement=None):
        self.batches[table, number] = state
        if state == "done" and requirement is not None and requirement == self.requirement:
            self.batches_acknowledged.add((table, number))


LOST = (OSError, asyncpg.PostgresConnectionError, asyncpg.InternalClientError)


def is_lost(connection, error):
    return (connection.is_closed() or isinstance(error, LOST)
            or getattr(error, "sqlstate", None) in ENDED)


class Party:
    """What all sessions have in common."""

    kind = "party"
    pid = None
    alive = began = 0.0  # when it asked for what was answered last, and for what it asks now

    def mark(self):
        self.alive, self.began = self.began, time.time()


# Sessions of a real driver ------------------------------------------------------------------------------------------


class Member(Party):
    """What every session of asyncpg does: come back when it was ended, and remember that."""

    kind = "member"

    async def keep_open(self):
        """Opens the connection, however often it is ended at once."""
        while True:
            try:
                self.connection, self.began = None, time.time()
                self.mark()
                await self.open_once()
                return
            except DRIVER_ERRORS as error:
                if self.connection is not None:
                    self.note_loss_or_surprise(error)
                    await asyncio.sleep(0.05)
                elif getattr(error, "sqlstate", None) not in ENDED | {"57014"} and not isinstance(
                        error, LOST):
                    self.storm.surprise(self.name, f"cannot connect: {type(error).__name__} {error}")
                    await asyncio.sleep(0.5)

    def note_loss_or_surprise(self, error):
        """Returns whether the connection is lost."""
        state = getattr(error, "sqlstate", None)
        if is_lost(self.connection, error):
            self.connection.terminate()
            self.storm.ended(self, state)
            self.storm.retries["lost"] += 1
            return True
        self.storm.retries[state] += 1
        if state in ("57014", "40000"):
            self.storm.hit(self, state)
        if state not in plain.GONE | plain.BUSY:
            self.storm.surprise(self.name, f"{type(error).__name__} {state} {error}")
        return False

    def hear(self, _, message):
        if message.sqlstate == "40000" and message.message.startswith("transaction was rolled back by pgleak: "):
            self.storm.tell(self)
        elif message.severity not in ("NOTICE", "INFO") and message.sqlstate != "25P01":
            self.storm.surprise(self.name, f"{message.severity} {message.sqlstate} {message.message}")

    async def run(self):
        try:
            while not self.storm.is_over:
                if self.connection.is_closed():
                    await self.keep_open()
                self.mark()
                try:
                    await self.attempt()
                except DRIVER_ERRORS as error:
                    self.note_loss_or_surprise(error)
        except Exception as error:  # noqa: BLE001 - whatever it is, it must end up in the result
            self.storm.surprise(self.name, f"gave up: {type(error).__name__}: {error}")


class Mover(Member, plain.Client):
    """Moves money as in the plain storm."""

    kind = "mover"

    def __init__(self, storm, number, role):
        super().__init__(storm, number)
        self.role, self.name = role, f"{self.kind} {number}"
        self.in_doubt = set()

    async def open_once(self):
        await plain.Client.open(self)
        # A connection that broke in the middle of PREPARE or COMMIT PREPARED may have left one.
        for transfer in sorted(self.in_doubt):
            await self.give_up_prepared(transfer)

    async def give_up_prepared(self, transfer):
        while True:
            try:
                await self.connection.execute(f"ROLLBACK PREPARED 'transfer {transfer}'")
                self.storm.unknown.discard(transfer)
                self.storm.never[transfer] = "rolled back when it was prepared"
            except asyncpg.UndefinedObjectError:
                pass  # it was committed, or not prepared
            except asyncpg.QueryCanceledError:
                self.note_cancel()
                continue
            self.in_doubt.discard(transfer)
            return

    def note_cancel(self):
        super().note_cancel()
        self.storm.hit(self, "57014")

    def take_note(self, transfer, error):
        if self.note_loss_or_surprise(error):
            if self.is_committing:
                self.storm.unknown.add(transfer)
                self.in_doubt.add(transfer)
            else:
                self.storm.never[transfer] = "lost before COMMIT"
            return
        state = getattr(error, "sqlstate", None)
        if self.is_committing:
            self.storm.commit_errors[transfer] = state
        if state == "40000" and self.connection.is_in_transaction():
            self.storm.surprise(self.name, "still in the block whose COMMIT was refused")

    async def commit(self, transfer):
        requirement = self.storm.requirement
        await super().commit(transfer)
        if requirement is not None and requirement == self.storm.requirement:
            self.storm.acknowledged.add(transfer)

    def choose_accounts(self):
        return random.sample(range(HOT + 1, ACCOUNTS + 1), 2)


class Holder(Mover):
    """Holds a row that everybody wants, with and without working."""

    kind = "holder"

    def choose_accounts(self):
        return random.randint(1, HOT), random.randint(HOT + 1, ACCOUNTS)

    def choose_extras(self):
        return [random.choice((self.hold_idle, self.hold_active))]

    async def hold_idle(self):
        await asyncio.sleep(random.uniform(0.2, 1.5))

    async def hold_active(self):
        await self.connection.fetch("SELECT pg_sleep($1)", random.uniform(0.2, 1.5))


class Retrier(Mover):
    """Never waits long, but comes back at once."""

    kind = "retrier"
    lock_timeout = "50ms"

    def choose_accounts(self):
        return random.sample(range(1, HOT + 1), 2)

    def choose_extras(self):
        return []


class Advisory(Member):
    """Keeps a session-level lock over transactions, or waits for one, honestly or in short attempts."""

    kind = "advisory"

    def __init__(self, storm, number, role, lock_timeout="0", longest=1.5):
        self.storm, self.role, self.name = storm, role, f"{self.kind} {number}"
        self.lock_timeout, self.longest = lock_timeout, longest

    async def open_once(self):
        self.connection = await connect(self.role, "storm", server_settings={
            "application_name": self.name, "lock_timeout": self.lock_timeout})
        self.pid = self.connection.get_server_pid()
        self.connection.add_log_listener(self.hear)

    async def ask(self, query, *values):
        """Whatever a cancel may do to one statement, the lock stays."""
        while True:
            self.mark()
            try:
                return await self.connection.fetchval(query, *values)
            except DRIVER_ERRORS as error:
                if is_lost(self.connection, error):
                    raise
                self.note_loss_or_surprise(error)

    async def attempt(self):
        key = random.randint(1, KEYS)
        await self.connection.execute(f"SELECT pg_advisory_lock({key})")
        for _ in range(random.randint(1, 3)):
            await asyncio.sleep(random.uniform(0, self.longest / 2))
            await self.ask("UPDATE tally SET value = value + 1 WHERE id = $1 RETURNING value", key)
        await asyncio.sleep(random.uniform(0, self.longest / 2))
        if not await self.ask("SELECT pg_advisory_unlock($1)", key):
            self.storm.surprise(self.name, "lost its advisory lock")
        self.storm.seen["advisory locks kept"] += 1


class Quiet(Advisory):
    """Others wait behind it, and then nobody does for so long that pgleak takes its episode for over."""

    kind = "quiet"
    interval = 12  # seconds; all of them meet

    async def attempt(self):
        await self.ask("SELECT pg_advisory_lock($1)", KEYS + 1)
        await asyncio.sleep(0.7)
        if not await self.ask("SELECT pg_advisory_unlock($1)", KEYS + 1):
            self.storm.surprise(self.name, "lost its advisory lock")
        meeting = (time.monotonic() // self.interval + 1) * self.interval
        while time.monotonic() < meeting and not self.storm.is_over:
            await asyncio.sleep(0.1)


class Notifier(Advisory):
    kind = "notifier"
    numbers = itertools.count(1)

    async def attempt(self):
        first = next(self.numbers) * 1000
        await self.connection.execute("SELECT pg_notify('heap', i::text || repeat('x', 7900)) FROM generate_series"
                                      f"({first}, {first + 60}) i")
        self.storm.seen["notifications"] += 61
        await asyncio.sleep(random.uniform(0.02, 0.2))


# Sessions that misbehave --------------------------------------------------------------------------------------------


class Copier(Party):
    """psycopg's COPY, whose source stalls, and then goes on or dies."""

    kind = "copy"

    def __init__(self, storm, number, role):
        self.storm, self.role, self.name = storm, role, f"{self.kind} {number}"

    def hear(self, diagnostic):
        if diagnostic.sqlstate == "40000":
            self.storm.tell(self)
        elif diagnostic.severity not in ("NOTICE", "INFO"):
            self.storm.surprise(self.name, f"{diagnostic.severity} {diagnostic.message_primary}")

    async def run(self):
        try:
            while not self.storm.is_over:
                await self.live()
        except Exception as error:  # noqa: BLE001
            self.storm.surprise(self.name, f"gave up: {type(error).__name__}: {error}")

    async def live(self):
        self.began = time.time()
        self.mark()
        try:
            connection = await psycopg.AsyncConnection.connect(f"dbname=storm user={self.role} application_name='{self.name}'",
                                                               autocommit=True)
        except psycopg.OperationalError:
            self.storm.retries["lost"] += 1  # ended before it knew its process id
            await asyncio.sleep(0.1)
            return
        self.pid = connection.info.backend_pid
        connection.add_notice_handler(self.hear)
        while not self.storm.is_over and not connection.closed:
            await self.copy(connection)
        await connection.close()

    async def copy(self, connection):
        batch, count = next(self.storm.ids), random.randint(20, 400)
        state, requirement = "failed", None
        self.mark()
        try:
            async with connection.cursor() as cursor:
                async with cursor.copy("COPY copied FROM STDIN") as copy:
                    pauses = set(random.sample(range(count), random.randint(0, 2)))
                    for line in range(count):
                        if line in pauses:
                            await asyncio.sleep(random.choice((0.01, 0.3, 1.5, 3.5)))
                            if random.random() < 0.2:
                                self.die(connection)
                        await copy.write(f"{batch}\t{line}\n")
                    state, requirement = "unknown", self.storm.requirement
            state = "done"
        except psycopg.Error as error:
            if connection.closed or error.sqlstate in ENDED:
                if self.pid not in self.storm.died:
                    self.storm.ended(self, error.sqlstate)
                self.storm.retries["lost"] += 1
                await connection.close()
            else:
                state = "failed"
                self.storm.retries[error.sqlstate] += 1
                if error.sqlstate == "57014":
                    self.storm.hit(self, error.sqlstate)
                else:
                    self.storm.surprise(self.name, f"{error.sqlstate} {error}")
        self.storm.note_batch("copied", batch, state, requirement)
        self.storm.seen[f"COPY {state}"] += 1

    def die(self, connection):
        self.storm.died.add(self.pid)
        self.storm.seen["COPY died"] += 1
        with socket.socket(fileno=os.dup(connection.pgconn.socket)) as doomed:
            doomed.shutdown(socket.SHUT_RDWR)


class Raw(Party):
    """A session without a driver."""

    kind = "raw"

    def __init__(self, storm, number, role):
        self.storm, self.role, self.name = storm, role, f"{self.kind} {number}"
        self.wire = None

    async def run(self):
        try:
            while not self.storm.is_over:
                await self.live()
        except Exception as error:  # noqa: BLE001
            self.storm.surprise(self.name, f"gave up: {type(error).__name__}: {error}")
        finally:
            if self.wire:
                self.wire.close()

    async def live(self):
        self.pid, self.began = None, time.time()
        self.mark()
        try:
            self.wire = await Wire.connect(self.role, "storm", self.name)
            self.pid = self.wire.pid
            await self.prepare()
            while not self.storm.is_over and self.pid not in self.storm.died:
                self.mark()
                await self.attempt()
        except (Gone, OSError) as gone:
            self.storm.retries["lost"] += 1
            self.lose()
            if self.pid is not None:
                self.storm.ended(self, gone.error["sqlstate"] if getattr(gone, "error", None) else None)
        self.wire.close()

    async def prepare(self):
        pass

    def lose(self):
        pass

    def check(self, answer, allowed=("57014",)):
        """Notes what an answer says of pgleak; returns whether the statement was done."""
        for notice in answer.notices:
            if notice["sqlstate"] == "40000":
                self.storm.tell(self)
            elif notice["severity"] == "WARNING":
                self.storm.surprise(self.name, f"WARNING {notice['message']}")
        if answer.sqlstate is None:
            return True
        self.storm.retries[answer.sqlstate] += 1
        if answer.sqlstate == "57014":
            self.storm.hit(self, "57014")
        if answer.sqlstate in ENDED:
            raise Gone(answer.error)
        if answer.sqlstate not in allowed:
            self.storm.surprise(self.name, f"{answer.sqlstate} {answer.error['message']}")
        return False

    def die(self):
        self.storm.died.add(self.pid)
        self.storm.seen[f"{self.kind} died"] += 1


class Unread(Raw):
    """Asks for a big result, and stops reading it."""

    kind = "unread"

    async def attempt(self):
        count = random.choice((1000, 20000))
        await self.wire.query(f"SELECT repeat('x', 1000) FROM generate_series(1, {count})")
        await asyncio.sleep(random.choice((0.01, 0.5, 2, 4)))
        if random.random() < 0.2:
            return self.die()
        answer = await self.wire.read_answer()
        if self.check(answer):
            self.storm.seen["results read"] += 1
            if answer.rows != count:
                self.storm.surprise(self.name, f"{answer.rows} rows of {count}")


# Accounts of pipelines: mostly those that nobody waits for.
WANTED = ((1, HOT), (HOT + 1, ACCOUNTS), (HOT + 1, ACCOUNTS))


class Pipeline(Raw):
    """Does several statements of one transaction, and the Sync comes late or never."""

    kind = "pipeline"
    number, state = None, None

    async def attempt(self):
        self.number, self.state, requirement = next(self.storm.ids), "failed", None
        await self.wire.execute(f"INSERT INTO piped VALUES ({self.number})")
        await self.wire.execute(f"UPDATE accounts SET balance = balance WHERE id = {random.randint(*random.choice(WANTED))}")
        await asyncio.sleep(random.choice((0.01, 0.3, 2, 4)))
        if random.random() < 0.15:
            self.note(None)
            return self.die()
        self.state, requirement = "unknown", self.storm.requirement
        await self.wire.sync()
        answer = await self.wire.read_answer()
        self.state = "done" if self.check(answer, plain.GONE | plain.BUSY) else "failed"
        self.note(requirement)

    def note(self, requirement):
        if self.number is None:
            return
        self.storm.note_batch("piped", self.number, self.state, requirement)
        if self.state == "done":
            self.storm.seen["pipelines done"] += 1
        self.number = None

    def lose(self):
        self.note(None)


class Listener(Raw):
    """Listens, and does not read while notifications pile up."""

    kind = "listener"

    async def prepare(self):
        self.last = {}
        while not self.storm.is_over and not self.check(await self.wire.ask("LISTEN heap")):
            pass

    async def attempt(self):
        await asyncio.sleep(random.choice((0.05, 0.5, 2, 4)))
        if random.random() < 0.15:
            return self.die()
        answer = await self.wire.ask("SELECT 1")
        self.check(answer)
        for pid, payload in answer.notifications:
            number = int(payload.rstrip("x"))
            if number <= self.last.get(pid, 0):
                self.storm.surprise(self.name, f"notification {number} of {pid} after {self.last[pid]}")
            self.last[pid] = number
        self.storm.seen["notifications read"] += len(answer.notifications)


# Those who interfere ------------------------------------------------------------------------------------------------


# Whom hands prefer: anybody, who waits for the standby, who is about to, or who commits what is prepared.
PREFERRED = ("true", "true", "wait_event = 'SyncRep'", "state = 'active' AND query ~ '^(COMMIT|END|PREPARE)'",
             "state = 'active' AND query LIKE 'COMMIT PREPARED%' AND wait_event IS DISTINCT FROM 'SyncRep'")


async def act_by_hand(storm, name):
    """Cancels and terminates random sessions, whatever they do or do not do."""
    connection = await connect("postgres", "postgres")
    said = []
    connection.add_log_listener(lambda _, message: said.append(message.message))
    try:
        while not storm.is_over:
            # Preferred where there is one, so not a condition of WHERE.
            pid = await connection.fetchval("SELECT pid FROM pg_stat_activity WHERE usename LIKE 'client\\_%' ORDER BY"
                                            f" ({random.choice(PREFERRED)}) IS NOT TRUE, random() LIMIT 1")
            if pid is None:
                await asyncio.sleep(0.1)
                continue
            action = "terminate" if random.random() < 0.2 else "cancel"
            said.clear()
            try:
                is_done = await connection.fetchval(f"SELECT pgleak.{action}($1)", pid)
                await asyncio.sleep(0)  # lets the listener, called a turn later, hear
                what = "done" if is_done else re.sub(r" (with PID )?\d+", "", said[0]) if said else "refused without a word"
                storm.cancels[f"{action}: {what}"] += 1
                if not is_done and not said:
                    storm.surprise(name, f"pgleak.{action}() is false without a word")
            except (asyncpg.ObjectInUseError, asyncpg.ObjectNotInPrerequisiteStateError) as error:
                storm.cancels[f"{action}: " + re.sub(r" \d+", "", str(error))] += 1
                if "is not responding" in str(error):
                    storm.surprise(name, str(error))
            await asyncio.sleep(random.uniform(0, 0.1))
    except Exception as error:  # noqa: BLE001
        storm.surprise(name, f"gave up: {type(error).__name__}: {error}")
    finally:
        await connection.close()


class Replication:
    """Toggles whether commits need the standby, and freezes and kills it."""

    def __init__(self, storm, standby):
        self.storm, self.standby = storm, standby
        self.admin = None
        self.is_stopped = False

    async def open(self):
        self.admin = await connect("postgres", "postgres")

    async def set_names(self, names):
        await self.admin.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{names}'")
        await self.admin.execute("SELECT pg_reload_conf()")
        while await self.admin.fetchval("SHOW synchronous_standby_names") != names:
            await asyncio.sleep(0.01)
        # The checkpointer tells all backends; it does so before it serves a request that comes later.
        await self.admin.execute("CHECKPOINT")

    async def require(self):
        if self.storm.requirement is None:
            await self.set_names(STANDBY)
            self.storm.requirement = next(self.storm.requirements)

    async def release(self):
        self.storm.requirement = None
        await self.set_names("")

    async def run(self):
        try:
            kill_in = 2
            while not self.is_stopped:
                await self.require()
                for _ in range(random.randint(1, 3)):
                    await asyncio.sleep(random.uniform(0.2, 1))
                    await self.freeze_a_while()
                kill_in -= 1
                if kill_in == 0:
                    kill_in = random.randint(3, 5)
                    await self.kill_and_look()
                    await self.standby.rejoin()
                await self.release()
                await asyncio.sleep(random.uniform(0.1, 1))
        except Exception as error:  # noqa: BLE001
            self.storm.surprise("replication", f"gave up: {type(error).__name__}: {error}")

    async def fail_over(self):
        """While everybody still works, the standby dies and will not come back."""
        await self.require()
        await asyncio.sleep(1)
        await self.kill_and_look()
        await self.release()

    async def freeze_a_while(self):
        self.standby.freeze()
        await asyncio.sleep(random.uniform(0.1, 1.2))
        self.standby.resume()
        self.storm.seen["standby frozen"] += 1

    async def kill_and_look(self):
        """Whatever was acknowledged must be there, without anything more from the primary."""
        self.standby.freeze()
        await asyncio.sleep(random.uniform(0.3, 1.5))
        self.standby.isolate()
        await self.standby.kill()
        if not await self.standby.start():
            raise RuntimeError("the standby does not start")
        self.storm.seen["standby killed"] += 1
        waiting = await self.admin.fetchval("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
        self.storm.seen["commits waiting for a dead standby"] += waiting
        await self.look()

    async def look(self):
        connection = await self.standby.connect("storm")
        transfers, batches = set(self.storm.acknowledged), set(self.storm.batches_acknowledged)
        deadline = time.monotonic() + PATIENCE
        while True:
            missing = transfers - {row[0] for row in await connection.fetch("SELECT id FROM transfers")}
            missing |= batches - await fetch_batches(connection)
            if not missing or time.monotonic() > deadline:
                break
            await asyncio.sleep(0.2)  # it replays what it has
        self.storm.unreplicated += sorted(map(str, missing))
        self.storm.seen["acknowledged and looked for on the standby"] += len(transfers) + len(batches)
        await connection.close()


async def fetch_batches(connection):
    return ({("copied", row[0]) for row in await connection.fetch("SELECT DISTINCT batch FROM copied")}
            | {("piped", row[0]) for row in await connection.fetch("SELECT id FROM piped")})


# The reckoning ------------------------------------------------------------------------------------------------------


async def check_ledger(storm, checks, admin):
    rows = {row["id"]: row for row in await admin.fetch("SELECT * FROM transfers")}
    lost = storm.committed - rows.keys()
    checks.check(not lost, f"each of {len(storm.committed)} transfers whose COMMIT succeeded is there", sorted(lost))
    refused = storm.commit_errors.keys() | storm.never.keys()
    ghosts = rows.keys() & refused
    checks.check(not ghosts, f"none of {len(refused)} whose COMMIT failed, or was not sent, is there",
                 [f"{i}: {storm.commit_errors.get(i)} {storm.never.get(i)}" for i in ghosts])
    strangers = rows.keys() - storm.committed - storm.unknown - ghosts
    checks.check(not strangers, f"only those of the {len(storm.unknown)} whose COMMIT was in flight are there besides",
                 sorted(strangers))
    balances = dict.fromkeys(range(1, ACCOUNTS + 1), OPENING_BALANCE)
    for row in rows.values():
        balances[row["source"]] -= row["amount"]
        balances[row["target"]] += row["amount"]
    found = dict(await admin.fetch("SELECT id, balance FROM accounts"))
    checks.check(sum(found.values()) == ACCOUNTS * OPENING_BALANCE, "the sum of money is unchanged")
    wrong = {i: (balances[i], found.get(i)) for i in balances if balances[i] != found.get(i)}
    checks.check(not wrong, "each transfer was applied once", wrong.items())
    return rows


async def check_batches(storm, checks, admin):
    there = await fetch_batches(admin)
    done = {batch for batch, state in storm.batches.items() if state == "done"}
    failed = {batch for batch, state in storm.batches.items() if state == "failed"}
    checks.check(done <= there, f"each of {len(done)} COPYs and pipelines that were done is there", sorted(done - there))
    checks.check(not failed & there, f"nothing of {len(failed)} that failed is there", sorted(failed & there))
    torn = await admin.fetch("SELECT batch FROM copied GROUP BY batch HAVING count(*) <> max(line) + 1")
    checks.check(not torn, "no COPY is there in part", torn)
    return there


async def check_standby(storm, checks, standby, rows, batches):
    checks.check(await standby.promote(), "the standby is promoted")
    connection = await standby.connect("storm")
    ids = {row[0] for row in await connection.fetch("SELECT id FROM transfers")}
    missing = storm.acknowledged - ids
    checks.check(not missing and not storm.unreplicated,
                 f"each of {len(storm.acknowledged)} transfers acknowledged while the standby was required is on it",
                 sorted(missing) + storm.unreplicated)
    there = await fetch_batches(connection)
    checks.check(storm.batches_acknowledged <= there, f"and each of {len(storm.batches_acknowledged)} COPYs and pipelines",
                 sorted(storm.batches_acknowledged - there))
    checks.check(ids <= rows.keys() and there <= batches, "it has nothing that the primary has not",
                 sorted(ids - rows.keys()) + sorted(there - batches))
    total = await connection.fetchval("SELECT sum(balance) FROM accounts")
    checks.check(total == ACCOUNTS * OPENING_BALANCE, "the sum of money is unchanged there", [total])
    await connection.close()


async def wait_for(condition):
    deadline = time.monotonic() + PATIENCE
    while not await condition():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.1)
    return True


async def check_history(storm, checks, pgleak):
    async def is_quiet():
        if await pgleak.fetchval("SELECT pgleak.scan()") != 0:
            return False
        return await pgleak.fetchval("SELECT count(*) = (SELECT leaks FROM pgleak.stats) AND count(*) = count(ended_at)"
                                     " FROM pgleak.history")
    checks.check(await wait_for(is_quiet), "each episode is in the history, and closed",
                 await pgleak.fetch("SELECT leak_id, pid, application_name, state, clock, outcome FROM pgleak.history"
                                    " WHERE ended_at IS NULL"))
    rows = {}
    for row in await pgleak.fetch("SELECT pid, application_name, state, clock, extract(epoch FROM detected_at)::float8 AS began,"
                                  " extract(epoch FROM ended_at)::float8 AS ended, last_action, last_action_result, outcome"
                                  " FROM pgleak.history"):
        rows.setdefault(row["pid"], []).append(row)

    def find(hit, is_fitting):
        return any(row["began"] <= hit.seen and (row["ended"] or hit.seen) >= hit.began and is_fitting(row)
                   for row in rows.get(hit.pid, ()))

    def describe(hit):
        return f"{hit} {[tuple(row) for row in rows.get(hit.pid, ())][-3:]}"

    innocent = [describe(hit) for hit in storm.hits if not find(hit, lambda row: row["last_action"] is not None)]
    checks.check(not innocent, f"each of {len(storm.hits)} statements that were hit was judged", innocent)
    innocent = [describe(hit) for hit in storm.ends if not find(hit, lambda row: row["outcome"] == "terminated")]
    checks.check(not innocent, f"each of {len(storm.ends)} connections that were ended was judged", innocent)


async def check_coverage(checks, pgleak):
    counts = {kind: await pgleak.fetchval(f"SELECT count(*) FROM pgleak.history WHERE {condition}")
              for kind, condition in KINDS.items()}
    checks.check(min(counts.values()) >= ENOUGH, f"each kind was seen {ENOUGH} times", counts.items())
    return counts


def read_log(storm, path, terminated):
    bad = []
    with open(path, encoding="utf-8", errors="replace") as log:
        log.seek(storm.log_begin)
        for line in log:
            entry = LOG_ENTRY.match(line)
            if NOT_ENTRIES.search(line):
                bad.append(line.rstrip())
            if entry is None or entry["level"] not in ("WARNING", "ERROR", "FATAL", "PANIC"):
                continue
            level, state, text, pid = entry["level"], entry["state"], entry["text"], int(entry["pid"])
            is_fine = {
                "WARNING": LOGGED_WARNINGS.match(text),
                "ERROR": state in LOGGED_ERRORS or (pid in storm.died and state in DIED) or HARMLESS_ERRORS.match(text),
                "FATAL": (pid in terminated and state in ENDED) or (pid in storm.died and state in DIED),
            }.get(level)
            if not is_fine:
                bad.append(line.rstrip())
    return bad


def read_standby_log(path):
    with open(path, encoding="utf-8", errors="replace") as log:
        return [line.rstrip() for line in log
                if re.search(r"TRAP:|PANIC|terminated by signal|AddressSanitizer|pgleak.*(ERROR|WARNING)", line)]


async def check_afterwards(storm, checks, clients, workers, standby, arguments):
    admin = await plain.connect_afterwards("storm")
    pgleak = await plain.connect_afterwards("postgres")
    for client in clients:
        if isinstance(client, Mover) and (client.connection.is_closed() or client.in_doubt):
            await client.keep_open()
    well = {client.name: await client.is_well() for client in clients if isinstance(client, Mover)}
    checks.check(all(well.values()), f"each of {len(well)} sessions works", [name for name in well if not well[name]])
    checks.check(not storm.surprises, "no client met anything unexpected", storm.surprises)
    left = await admin.fetch("SELECT gid FROM pg_prepared_xacts")
    checks.check(not left, "no transaction is left prepared", left)
    rows = await check_ledger(storm, checks, admin)
    batches = await check_batches(storm, checks, admin)
    await check_standby(storm, checks, standby, rows, batches)
    for client in clients:
        if hasattr(client, "connection") and not client.connection.is_closed():
            client.connection.terminate()
    await check_history(storm, checks, pgleak)
    counts = await check_coverage(checks, pgleak)
    checks.check(await pgleak.fetch(SESSIONS_OF_WORKERS) == workers, "scanner and recorder are the ones they were")
    terminated = {row[0] for row in await pgleak.fetch("SELECT pid FROM pgleak.history WHERE outcome = 'terminated'")}
    bad = read_log(storm, arguments.log, terminated)
    checks.check(not bad, "the server's log has no unexpected entry", bad)
    bad = read_standby_log(standby.log)
    checks.check(not bad, "nor has that of the standby", bad)
    stats = await pgleak.fetchrow("SELECT * FROM pgleak.stats")
    checks.check(stats["events_dropped"] == 0, "no event was dropped")
    await admin.close()
    await pgleak.close()
    return counts, stats


def summarize(storm, counts, stats):
    def listed(counter):
        return ", ".join(f"{what} {count}" for what, count in Counter(counter).most_common()) or "none"

    print(f"    transactions: {len(storm.transfers)} begun, {len(storm.committed)} committed,"
          f" {len(storm.acknowledged)} while the standby was required, {len(storm.unknown)} unknown")
    print(f"    retried, by SQLSTATE: {listed(storm.retries)}; COMMIT raised: {listed(Counter(storm.commit_errors.values()))}")
    print(f"    by hand: {listed(storm.cancels)}")
    print(f"    seen: {listed(storm.seen)}; clients told why: {storm.told}")
    print(f"    in the history: {listed(counts)}")
    print(f"    pgleak.stats: {json.dumps(dict(stats), default=str)}")


def make_clients(storm):
    kinds = [(Mover, "client_by_hand", 3), (Mover, "client_limited", 3), (Mover, "client_watched", 1),
             (Holder, "client_blocking_cancel", 2), (Holder, "client_blocking_terminate", 1), (Holder, "client_watched", 1),
             (Retrier, "client_by_hand", 3),
             (Copier, "client_idle_terminate", 2), (Copier, "client_by_hand", 1), (Copier, "client_limited", 1),
             (Unread, "client_idle_terminate", 1), (Unread, "client_watched", 1), (Unread, "client_limited", 1),
             (Pipeline, "client_idle_terminate", 1), (Pipeline, "client_blocking_cancel", 1),
             (Pipeline, "client_blocking_terminate", 1), (Pipeline, "client_watched", 1),
             (Listener, "client_idle_terminate", 2), (Listener, "client_watched", 1), (Listener, "client_by_hand", 1),
             (Notifier, "client_by_hand", 1),
             (Advisory, "client_blocking_terminate", 1), (Advisory, "client_blocking_cancel", 1),
             (Advisory, "client_watched", 2), (Quiet, "client_watched", 4)]
    clients = [kind(storm, number, role) for kind, role, count in kinds for number in range(count)]
    clients += [Advisory(storm, "waiter", "client_watched", longest=0.02),
                Advisory(storm, "retrier 1", "client_watched", lock_timeout="50ms", longest=0.02),
                Advisory(storm, "retrier 2", "client_by_hand", lock_timeout="50ms", longest=0.02)]
    for number, client in enumerate(clients):
        client.name = f"{client.kind} {number}"
    return clients


async def is_covered(pgleak):
    row = await pgleak.fetchrow("SELECT " + ", ".join(f"count(*) FILTER (WHERE {condition})" for condition in KINDS.values())
                                + " FROM pgleak.history")
    return min(row.values()) >= ENOUGH


async def main(arguments):
    storm, checks, standby = HolderStorm(), Checks(), Standby(arguments.standby, arguments.bindir)
    pgleak = await connect("postgres", "postgres")
    await pgleak.execute("CREATE EXTENSION pgleak")
    await pgleak.execute("CREATE DATABASE storm")
    admin = await connect("postgres", "storm")
    await admin.execute(SCHEMA)
    await admin.close()
    workers = await pgleak.fetch(SESSIONS_OF_WORKERS)
    storm.log_begin = os.path.getsize(arguments.log)
    replication = Replication(storm, standby)
    try:
        await replication.open()
        clients = make_clients(storm)
        for client in clients:
            if isinstance(client, Member):
                await client.keep_open()
        parties = [client.run() for client in clients]
        parties += [act_by_hand(storm, f"hand {i}") for i in range(2)]
        tasks = [asyncio.create_task(party) for party in parties]
        background = asyncio.create_task(replication.run())
        deadline = time.monotonic() + arguments.seconds
        while time.monotonic() < deadline or not (await is_covered(pgleak) or time.monotonic() > deadline + arguments.longer):
            await asyncio.sleep(0.2)
        print(f"    {arguments.seconds + time.monotonic() - deadline:.0f} seconds until each kind was seen")
        replication.is_stopped = True
        await background
        await replication.fail_over()
        storm.is_over = True
        await asyncio.gather(*tasks)
        counts, stats = await check_afterwards(storm, checks, clients, workers, standby, arguments)
    finally:
        standby.resume()
    summarize(storm, counts, stats)
    return 1 if checks.failed else 0


def parse_arguments():
    parser = argparse.ArgumentParser(description="Ends sessions that hold what others wait for, and accounts for each change.")
    parser.add_argument("--seconds", type=int, default=60, help="at least; until each kind was seen")
    parser.add_argument("--longer", type=int, default=PATIENCE, help="how much longer they may wait for that")
    parser.add_argument("--log", required=True, help="the server's log")
    parser.add_argument("--standby", required=True, help="data directory of the standby")
    parser.add_argument("--bindir", required=True, help="directory of pg_ctl")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(asyncio.run(main(parse_arguments())))
