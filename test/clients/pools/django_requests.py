# Django with CONN_MAX_AGE and ATOMIC_REQUESTS: what is kept between requests is no leak; what is kept in one is.
# Called by: test/clients/run pools.
# Must never: expect more of the application than that it answers.
# Needs: python3-django python3-gunicorn python3-psycopg2

import threading

from scenario import APPS, Scenario, call, run

GUNICORN = ["/usr/bin/python3", "-m", "gunicorn", "--pythonpath", APPS, "--bind", "fd://{fd}", "--threads", "4",
            "shop_django"]


def body(shop):
    name = "shop-django"
    server, url = shop.serve(name, GUNICORN)
    for _ in range(3):
        visitors = [threading.Thread(target=call, args=(url + "/good",)) for _ in range(8)]
        for visitor in visitors:
            visitor.start()
        for visitor in visitors:
            visitor.join()
    shop.pool_becomes("Django: CONN_MAX_AGE keeps connections between requests", name,
                      "connections > 0 AND idle = connections")
    shop.check(shop.pool("verdict = 'ok' AND leaked = 0", name), "Django: which is fine", shop.report)

    payment = threading.Thread(target=call, args=(url + "/pay",))
    payment.start()
    shop.has_episodes("Django: ATOMIC_REQUESTS with a slow partner inside is an episode with its view, and locks", name, 1,
                      "tags->>'route' = '/pay' AND locks > 0 AND outcome IS NULL")
    shop.has_episodes("Django: and its line", name, 1, "code ~ '^shop_django.py:[0-9]+ pay$'")
    shop.check(call(url + "/good")[0] == 200, "Django: the others are served in the meantime")
    call(url + "/answer")
    payment.join()
    shop.has_episodes("Django: it ends with the request, by a COMMIT", name, 1, "outcome = 'committed'")

    call(url + "/export")
    shop.becomes("Django: a thread that was begun in a request and hangs is one that stays", lambda: shop.count_episodes(
        name, "tags->>'route' = '/export' AND outcome IS NULL") == 1)
    shop.check(shop.count_episodes(name) == 2, "Django: and there are no other episodes", shop.report)
    shop.check(shop.pool("suspects", name) == 0, "Django: nor suspects", shop.report)
    shop.stop(server)


run(lambda: Scenario("django_requests"), body)
