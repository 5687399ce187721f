# A small web shop: an ordinary FastAPI and SQLAlchemy application with the four bugs that leak sessions most often.
#
# demo/run starts it under uvicorn with SHOP_DATABASE in the environment, and optionally SHOP_POOL_SIZE and
# SHOP_POOL_OVERFLOW; demo/drive.py sends the requests. Three lines make it tell pgleak which code it is running.

import os
import time

from fastapi import BackgroundTasks, FastAPI, HTTPException
from fastapi.responses import JSONResponse
from sqlalchemy import create_engine, text
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import sessionmaker

import pgleak_client.asgi
import pgleak_client.sqlalchemy

# SQLAlchemy's default pool has 5 connections plus an overflow of 10. The timeout is shortened from its default, 30 seconds.
engine = create_engine(
    os.environ["SHOP_DATABASE"],
    connect_args={"application_name": "shop-api"},
    pool_size=int(os.environ.get("SHOP_POOL_SIZE", "5")),
    max_overflow=int(os.environ.get("SHOP_POOL_OVERFLOW", "10")),
    pool_timeout=2,
)
Session = sessionmaker(bind=engine)
app = FastAPI(title="shop-api")

# The companion puts the line and the route into each statement, and logs the stack of each checkout that leaks.
pgleak_client.sqlalchemy.install(engine)
app.add_middleware(pgleak_client.asgi.Middleware)
pgleak_client.watch(os.environ["SHOP_DATABASE"].rpartition("/")[0] + "/postgres")


@app.exception_handler(PoolTimeout)
def pool_exhausted(request, error):
    return JSONResponse(status_code=503, content={"detail": str(error)})


# --- correct code -----------------------------------------------------------------------------------------------------


@app.get("/products")
def list_products():
    with Session() as session:  # closed at the end of the block, even after an error
        return session.execute(text("SELECT id, name, price FROM product ORDER BY id")).mappings().all()


@app.get("/search")
def search(word: str):
    with Session() as session:  # correct, but slow: the pause stands for a query without an index
        return session.execute(
            text("SELECT id, name FROM product, pg_sleep(0.6) WHERE name LIKE :word"), {"word": f"%{word}%"}
        ).mappings().all()


@app.post("/delivery")
def receive_delivery(product: int):
    with Session.begin() as session:  # commits at the end of the block, or rolls back
        session.execute(text("UPDATE product SET stock = stock + 10 WHERE id = :id"), {"id": product})
    return {"received": product}


# --- bug 1: a forgotten close -----------------------------------------------------------------------------------------

recent_orders = []


@app.get("/orders")
def list_orders(customer: int):
    """Nothing closes the session, and the "recently viewed" list keeps it from being garbage-collected."""
    session = Session()
    orders = session.execute(text("SELECT id, product, quantity FROM orders WHERE customer = :id"), {"id": customer})
    recent_orders.append((customer, session))
    return orders.mappings().all()


# --- bug 2: a session handed to a background task that outlives the request -------------------------------------------


def send_confirmation(session, order):
    """Talk to a mail server that never answers, without a timeout; commit and close are never reached."""
    time.sleep(3600)
    session.execute(text("UPDATE orders SET confirmed = true WHERE id = :id"), {"id": order})
    session.commit()
    session.close()


@app.post("/checkout")
def check_out(customer: int, product: int, tasks: BackgroundTasks):
    session = Session()
    order = session.execute(
        text("INSERT INTO orders (customer, product, quantity) VALUES (:customer, :product, 1) RETURNING id"),
        {"customer": customer, "product": product},
    ).scalar_one()
    session.execute(text("UPDATE product SET stock = stock - 1 WHERE id = :id"), {"id": product})
    tasks.add_task(send_confirmation, session, order)
    return {"order": order}


# --- bug 3: a global session ------------------------------------------------------------------------------------------

health_session = Session()


@app.get("/health")
async def health():
    """Never idle for long, but never finished: the first statement opened a transaction that lives as long as the app."""
    sold_out = health_session.execute(text("SELECT count(*) FROM product WHERE stock = 0")).scalar_one()
    return {"status": "green", "sold_out": sold_out}


# --- bug 4: an error path that closes nothing -------------------------------------------------------------------------

recent_errors = []


def pay_back(order):
    raise ConnectionError("the payment service does not answer")


@app.post("/refund")
def refund(order: int):
    """Only the path without an error closes the session; the list of errors keeps the traceback, and that the session."""
    session = Session()
    try:
        session.execute(text("UPDATE orders SET quantity = 0 WHERE id = :id"), {"id": order})
        pay_back(order)
        session.commit()
        session.close()
    except ConnectionError as error:
        recent_errors.append(error)
        raise HTTPException(502, str(error)) from None
