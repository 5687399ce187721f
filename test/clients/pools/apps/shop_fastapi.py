# A web application with FastAPI and SQLAlchemy, with one good route and one route for each way to leak a session.
# Called by: uvicorn, for the scenarios fastapi_leaks and fastapi_load, with APPLICATION, POOL_SIZE and libpq's variables.
# Must never: know more of pgleak than how to install its companion. The application is the patient.

import os
import time

from fastapi import BackgroundTasks, FastAPI, HTTPException
from sqlalchemy import create_engine, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import sessionmaker

import pgleak_client.asgi
import pgleak_client.sqlalchemy

engine = create_engine(
    "postgresql+psycopg2:///postgres",
    connect_args={"application_name": os.environ["APPLICATION"]},
    pool_size=int(os.environ.get("POOL_SIZE", "5")),
    max_overflow=0,
    pool_timeout=2 if "IMPATIENT" in os.environ else 60,
)
Session = sessionmaker(bind=engine)
app = FastAPI()
pgleak_client.sqlalchemy.install(engine)
app.add_middleware(pgleak_client.asgi.Middleware)


@app.get("/good")
def good():
    """Correct, but not fast: a fifth of a second with a connection."""
    with Session() as session:
        session.execute(text("SELECT pg_sleep(0.2)"))
        return session.execute(text("SELECT quantity FROM stock WHERE product = 1")).scalar_one()


kept = []


@app.get("/forgotten")
def forgotten():
    session = Session()
    kept.append(session)  # as any cache, closure or reference cycle would keep it
    return session.execute(text("SELECT quantity FROM stock WHERE product = 2")).scalar_one()


def send_mail(session):
    time.sleep(3600)  # a mail server that never answers, without a time-out
    session.commit()
    session.close()


@app.post("/background")
def background(tasks: BackgroundTasks):
    session = Session()
    session.execute(text("UPDATE stock SET quantity = quantity - 1 WHERE product = 3"))
    tasks.add_task(send_mail, session)
    return "on its way"


last_error = None


@app.post("/error")
def error():
    """No rollback, no close; the error's traceback keeps the frame, and the frame keeps the session."""
    global last_error
    session = Session()
    try:
        session.execute(text("INSERT INTO orders (note) VALUES (NULL)"))
        session.commit()
        session.close()
    except IntegrityError as problem:
        last_error = problem
        raise HTTPException(409, "no such order") from None


global_session = Session()


@app.get("/global")
async def use_global():
    """The first statement opened a transaction that lives as long as the application."""
    return global_session.execute(text("SELECT quantity FROM stock WHERE product = 4")).scalar_one()
