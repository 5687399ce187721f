# SQLAlchemy's asyncio extension with asyncpg: a pool that is too small, and one that a task leaks from.
# Called by: test/clients/run pools.
# Must never: share a pool between the parts.
# Needs: python3-sqlalchemy python3-asyncpg python3-psycopg2

import asyncio
import threading
from contextvars import ContextVar

from sqlalchemy import event, text
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from checks import error_of
from scenario import Scenario, run

current_route = ContextVar("current_route", default="")


class Application:
    """Handlers on an event loop in a thread of its own."""

    def __init__(self, scenario, application):
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        self.engine = create_async_engine(
            f"postgresql+asyncpg://{scenario.role}@/postgres", pool_size=3, max_overflow=0, pool_timeout=0.5,
            connect_args={"server_settings": {"application_name": application}})
        event.listen(self.engine.sync_engine, "before_cursor_execute", self.name_the_route, retval=True)
        self.tasks = []
        self.leaked = []
        self.done = 0

    @staticmethod
    def name_the_route(connection, cursor, statement, parameters, context, executemany):
        return f"/*route='{current_route.get()}'*/ {statement}", parameters

    def run(self, awaitable):
        return asyncio.run_coroutine_threadsafe(awaitable, self.loop).result()

    async def good(self):
        current_route.set("/good")
        async with AsyncSession(self.engine) as session:
            await session.execute(text("SELECT pg_sleep(:pause)"), {"pause": 0.2})
            await session.commit()
            self.done += 1

    async def customer(self):
        while True:
            try:
                await self.good()
            except PoolTimeout:
                pass  # comes again

    async def leak(self):
        """A handler that leaves its session to a task which waits for something that never comes."""
        current_route.set("/export")
        session = AsyncSession(self.engine)
        await session.execute(text("SELECT quantity FROM stock WHERE product = :product"), {"product": 1})

        async def export():
            await asyncio.Event().wait()
            await session.close()

        self.leaked.append(session)
        self.tasks.append(asyncio.create_task(export()))

    async def come(self, count):
        self.tasks += [asyncio.create_task(self.customer()) for _ in range(count)]

    async def shut_down(self):
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for session in self.leaked:
            await session.close()
        await self.engine.dispose()


def test_undersized(scenario):
    application = Application(scenario, "async-small")
    application.run(application.come(10))
    scenario.pool_becomes("asyncpg: a pool that is too small gets the verdict undersized", "async-small",
                          "verdict = 'undersized' AND capacity = 3 AND leaked = 0")
    application.run(application.shut_down())
    scenario.check(application.done > 0, "asyncpg: its customers were served")
    scenario.check(scenario.count_episodes("async-small") == 0, "asyncpg: there is not one episode", scenario.report)


def test_leaking(scenario):
    application = Application(scenario, "async-leaking")
    for _ in range(3):
        application.run(application.leak())
    scenario.pool_becomes("asyncpg: tasks that keep their session get the verdict leaking", "async-leaking",
                          "verdict = 'leaking' AND leaked = 3 AND exhausted_at <= now()")
    scenario.check(isinstance(error_of(application.run, application.good()), PoolTimeout),
                   "asyncpg: the pool is exhausted")
    scenario.has_episodes("asyncpg: all episodes name the route", "async-leaking", 3, "tags->>'route' = '/export'")
    scenario.all_episodes_are("asyncpg: which only read, and keep VACUUM back", "async-leaking", "impact = 'horizon'")
    application.run(application.shut_down())
    scenario.has_episodes("asyncpg: they end when the sessions are closed", "async-leaking", 3, "outcome = 'rolled back'")


def body(scenario):
    test_undersized(scenario)
    test_leaking(scenario)


run(lambda: Scenario("sqlalchemy_async"), body)
