# A standby on the same machine that can be frozen, killed, cut off from its primary and promoted.
# Called by: storm_holders.py. test/clients/run has made and started it, as the user of this process.
# Must never: signal a process that does not belong to this standby, or leave one frozen.

import asyncio
import os
import signal
import time
from pathlib import Path

import asyncpg

NAME = "standby"
PATIENCE = 180


class Standby:
    def __init__(self, data, bindir):
        self.data, self.bindir = Path(data), bindir
        self.port = next(line.split("=")[1].strip() for line in (self.data / "postgresql.conf").read_text().splitlines()[::-1]
                         if line.startswith("port ="))
        self.log = f"{data}.log"

    def postmaster(self):
        return int((self.data / "postmaster.pid").read_text().split()[0])

    def processes(self):
        """The postmaster first, so that it cannot react to what happens to its children."""
        postmaster = self.postmaster()
        children = []
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                parent = int(path.read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue  # it has exited
            if parent == postmaster:
                children.append(int(path.parent.name))
        return [postmaster, *children]

    def signal(self, number):
        for pid in self.processes():
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass

    def freeze(self):
        self.signal(signal.SIGSTOP)

    def resume(self):
        try:
            self.signal(signal.SIGCONT)
        except FileNotFoundError:
            pass  # it does not run

    async def kill(self):
        """Nothing that was not received when this begins is received later."""
        self.freeze()
        pids = self.processes()
        self.signal(signal.SIGKILL)
        while any(is_running(pid) for pid in pids):
            await asyncio.sleep(0.02)
        # Where nobody buries the postmaster, a new one would take it for alive.
        (self.data / "postmaster.pid").unlink()
        (self.data.parent / f".s.PGSQL.{self.port}.lock").unlink()

    async def start(self):
        process = await asyncio.create_subprocess_exec(
            f"{self.bindir}/pg_ctl", "start", "-w", "-t", str(PATIENCE), "-D", str(self.data), "-l", self.log,
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL)
        return await process.wait() == 0

    async def connect(self, database):
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return await asyncpg.connect(user="postgres", database=database, port=self.port, timeout=PATIENCE,
                                             command_timeout=PATIENCE)
            except (asyncpg.PostgresError, OSError):
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.1)

    def isolate(self):
        """From the next start on, until rejoin()."""
        with open(self.data / "postgresql.auto.conf", "a", encoding="utf-8") as configuration:
            configuration.write("primary_conninfo = ''\n")

    async def rejoin(self):
        connection = await self.connect("postgres")
        await connection.execute("ALTER SYSTEM RESET primary_conninfo")
        await connection.execute("SELECT pg_reload_conf()")
        await connection.close()

    async def promote(self):
        connection = await self.connect("postgres")
        is_done = await connection.fetchval("SELECT pg_promote(true, $1)", PATIENCE)
        await connection.close()
        return is_done


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
