# SQLAlchemy's QueuePool: what terminate does not give back, and that only what is forgotten is suspected.
# Called by: test/clients/run pools.
# Must never: share a pool between the parts.
# Needs: python3-sqlalchemy python3-psycopg2

import logging

import sqlalchemy
from sqlalchemy import text
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from checks import error_of
from scenario import Scenario, UnevenLoad, run


def make_engine(scenario, application, **options):
    return sqlalchemy.create_engine(f"postgresql+psycopg2://{scenario.role}@/postgres",
                                    connect_args={"application_name": application}, **options)


class Pool:
    """Of three connections, as the check of terminate wants it."""

    def __init__(self, scenario, application):
        self.engine = make_engine(scenario, application, pool_size=3, max_overflow=0, pool_timeout=0.5)
        self.leaked = []

    def leak(self):
        session = Session(self.engine)
        session.execute(text("/*route='/cart'*/ SELECT quantity FROM stock"))
        self.leaked.append(session)

    def is_refused(self):
        return isinstance(error_of(self.engine.connect), PoolTimeout)

    def in_use(self):
        return self.engine.pool.checkedout()

    def cure(self):
        for session in self.leaked:
            error_of(session.close)  # it is told that the connection is lost, and gives it back all the same

    def works(self):
        with Session(self.engine) as session:
            return session.execute(text("SELECT 1")).scalar_one() == 1


def test_dispose(scenario):
    """For those who cannot wait for a release: a new pool in the place of the old one."""
    pool = Pool(scenario, "disposed")
    for _ in range(3):
        pool.leak()
    was_refused = pool.is_refused()
    pool.engine.dispose()
    scenario.check(was_refused and pool.works(), "SQLAlchemy: engine.dispose() gives the application a new pool")
    pool.cure()


def test_suspects(scenario):
    """Two pools in order, and one with a connection that somebody took, used in autocommit mode and forgot."""
    engines = {
        "lifo": make_engine(scenario, "lifo", pool_size=3, max_overflow=5, pool_use_lifo=True),
        "fifo": make_engine(scenario, "fifo", pool_size=3, max_overflow=5),
        "forgetful": make_engine(scenario, "forgetful", pool_size=6, max_overflow=0, isolation_level="AUTOCOMMIT"),
    }
    forgotten = engines["forgetful"].connect()
    forgotten.execute(text("SELECT 1"))

    def request(engine):
        with Session(engine) as session:
            session.execute(text("SELECT pg_sleep(0.05)"))
            session.commit()

    loads = [UnevenLoad(lambda engine=engine: request(engine), 6) for engine in engines.values()]
    most = scenario.most_suspects(19)
    scenario.check(most.get("lifo") == 0, "SQLAlchemy: a LIFO pool under uneven load has no suspects", most)
    scenario.check(most.get("fifo") == 0, "SQLAlchemy: nor has a FIFO pool", most)
    scenario.check(most.get("forgetful") == 1, "SQLAlchemy: a connection forgotten outside of a transaction is one", most)
    scenario.check(scenario.pool("suspects = 1 AND oldest_suspect_idle > '5s' AND leaked = 0", "forgetful"),
                   "SQLAlchemy: it stays one, and is no leak", scenario.report)
    scenario.check(scenario.pool("advice LIKE '%%1 idle connection was passed over%%'", "forgetful"),
                   "SQLAlchemy: the advice speaks of it", scenario.report)
    forgotten.close()
    scenario.pool_becomes("SQLAlchemy: once it is given back and used it is none any more", "forgetful", "suspects = 0")
    for load in loads:
        load.stop()
        scenario.check(load.done > 50 and not load.errors, "SQLAlchemy: the load went through", (load.done, load.errors[:3]))
    scenario.check(all(scenario.count_episodes(name) == 0 for name in engines), "SQLAlchemy: there is not one episode",
                   scenario.report)


def body(scenario):
    logging.disable()  # of what SQLAlchemy has to say on connections that are gone
    scenario.terminate_gives_nothing_back("SQLAlchemy", "terminated", Pool(scenario, "terminated"), 3)
    test_dispose(scenario)
    test_suspects(scenario)


run(lambda: Scenario("sqlalchemy_pool"), body)
