# A web application with Django, persistent connections and a transaction around each request, as many are set up.
# Called by: gunicorn, for the scenario django_requests, with APPLICATION and libpq's variables.
# Must never: know more of pgleak than its companion's middleware. The application is the patient.

import os
import threading

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.db import connection, transaction
from django.http import JsonResponse
from django.urls import path

import pgleak_client

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"],
    SECRET_KEY="none",
    ROOT_URLCONF=__name__,
    MIDDLEWARE=["pgleak_client.django.Middleware"],
    DATABASES={"default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "postgres",
        "USER": os.environ["PGUSER"],
        "OPTIONS": {"application_name": os.environ["APPLICATION"]},
        "CONN_MAX_AGE": None,
        "ATOMIC_REQUESTS": True,
    }},
)
django.setup()


def quantity_of(product):
    with connection.cursor() as cursor:
        cursor.execute("SELECT quantity FROM stock WHERE product = %s", [product])
        return cursor.fetchone()[0]


def good(request):
    return JsonResponse({"quantity": quantity_of(1)})


partner_answers = threading.Event()


def pay(request):
    """Correct, and still in the way: the request's transaction stays open while a partner's service is asked."""
    with connection.cursor() as cursor:
        cursor.execute("UPDATE stock SET quantity = quantity - 1 WHERE product = 2")
    partner_answers.wait()
    return JsonResponse({"paid": True})


def answer(request):
    partner_answers.set()
    return JsonResponse({})


def export(request):
    """A thread of its own has a connection of its own, which no end of a request closes."""
    def write_file():
        pgleak_client.set_route("/export")  # a thread has nothing of its request's
        with transaction.atomic():
            quantity_of(3)
            threading.Event().wait()  # a full disk, a dead mount

    threading.Thread(target=write_file, daemon=True).start()
    return JsonResponse({"begun": True})


urlpatterns = [path("good", good), path("pay", pay), path("answer", answer), path("export", export)]
application = get_wsgi_application()
