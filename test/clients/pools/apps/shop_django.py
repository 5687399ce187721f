# A web application with Django, persistent connections and a transaction around each request, as many are set up.
# Called by: gunicorn, for the scenario django_requests, with APPLICATION and libpq's variables.
# Must never: know anything of pgleak. The application is the patient.

import os
import threading
from urllib.parse import quote

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.db import connection, transaction
from django.db.backends.signals import connection_created
from django.dispatch import receiver
from django.http import JsonResponse
from django.urls import path

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"],
    SECRET_KEY="none",
    ROOT_URLCONF=__name__,
    MIDDLEWARE=[__name__ + ".note_route"],
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
current = threading.local()


def note_route(get_response):
    def handle(request):
        current.route = request.path
        return get_response(request)
    return handle


def name_the_route(execute, sql, params, many, context):
    # psycopg2 takes a % in a statement with parameters for a placeholder.
    tag = f"/*route='{quote(getattr(current, 'route', ''))}'*/ "
    return execute((tag if params is None else tag.replace("%", "%%")) + sql, params, many, context)


@receiver(connection_created)
def watch_statements(connection, **kwargs):
    connection.execute_wrappers.append(name_the_route)


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
        current.route = "/export"
        with transaction.atomic():
            quantity_of(3)
            threading.Event().wait()  # a full disk, a dead mount

    threading.Thread(target=write_file, daemon=True).start()
    return JsonResponse({"begun": True})


urlpatterns = [path("good", good), path("pay", pay), path("answer", answer), path("export", export)]
application = get_wsgi_application()
