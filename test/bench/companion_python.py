# What the Python companion adds to each statement and each checkout of an application with SQLAlchemy's ORM, at the depth of
#   stack at which a FastAPI application calls it.
# Called by: test/bench/run companion_python, with PGHOST and PGPORT of a throw-away cluster, and the companion in PYTHONPATH.
# Must never: measure the server. Each of the companion's functions is called again and again where SQLAlchemy calls it once.

import statistics
import time

import sqlalchemy
from sqlalchemy import event
from sqlalchemy.orm import Session, declarative_base

import rows
from pgleak_client import checkouts
from pgleak_client import sqlalchemy as companion
from pgleak_client.tags import set_route, set_traceparent

ROUNDS, CALLS = 40, 500
DEPTHS = {"a script": 0, "FastAPI under uvicorn": 45}  # frames above the application's own
STATEMENT, CHECKOUT = 5, 20  # us: the most that is promised

# A listener in a file of the application's would be the line that is found; SQLAlchemy's own are in a library.
MEASURE = compile("""
def measure(*arguments):
    begin = perf_counter_ns()
    for _ in range(CALLS):
        method(*arguments)
    found.append((perf_counter_ns() - begin) / CALLS / 1000)
""", "/site-packages/measure.py", "exec")


class Product(declarative_base()):
    __tablename__ = "product"
    id = sqlalchemy.Column(sqlalchemy.Integer, primary_key=True)
    name = sqlalchemy.Column(sqlalchemy.String)


def at_depth(depth, function):
    return at_depth(depth - 1, function) if depth else function()


def measured(engine, name, method):
    """The costs of a method, in microseconds, for each depth."""
    costs = {}
    names = {"perf_counter_ns": time.perf_counter_ns, "CALLS": CALLS, "method": method}
    exec(MEASURE, names)

    def work():
        with Session(engine) as session:
            session.query(Product).filter(Product.id == 1).all()

    event.listen(engine, name, names["measure"])
    for place, depth in DEPTHS.items():
        names["found"] = costs[place] = []
        for _ in range(ROUNDS):
            at_depth(depth, work)
    event.remove(engine, name, names["measure"])
    return costs


def add(what, costs, most):
    for place, found in costs.items():
        rows.add(f"companion_python: {what}, in {place} ({min(found):.2f} to {max(found):.2f} us)", "us", found, target=f"<= {most} us",
                 met=statistics.median(found) <= most)


def main():
    engine = sqlalchemy.create_engine("postgresql+psycopg2:///postgres")
    hooks = companion._Companion(engine, None, None)
    event.listen(engine, "connect", hooks.connect)
    Product.metadata.create_all(engine)
    set_route("/orders/{id}")
    set_traceparent("00-5bd66ef5095369c7b0d1f8f4bd33716a-c532cb4098ac3dd2-01")
    add("a statement", measured(engine, "before_cursor_execute", hooks.before_cursor_execute), STATEMENT)
    add("a checkout", measured(engine, "checkout", hooks.checkout), CHECKOUT)
    assert checkouts.pids(), "no checkout has been remembered"


main()
