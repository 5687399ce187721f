# The visitors of the demonstration's shop, as real HTTP requests.
#
# demo/run calls this as `drive.py URL PART`, where PART is one of the functions in PARTS. The exit status is 0 if
# everything happened as the demonstration says. No part talks to the database: each sees only what a customer, a
# supplier or a load balancer sees.

import collections
import json
import os
import signal
import sys
import threading
import time
import urllib.error
import urllib.request

CROWD = 16       # customers searching concurrently
DELIVERIES = 5   # deliveries that arrive while a checkout holds the product


def call(url, method="GET"):
    """Send one request; return its status, its body and its duration in seconds."""
    start = time.monotonic()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=120) as response:
            status, body = response.status, json.load(response)
    except urllib.error.HTTPError as error:
        status, body = error.code, json.load(error)
    return status, body, time.monotonic() - start


def tell(method, path, status, seconds, remark=""):
    print(f"    {method:4} {path:32} {status}  {seconds * 1000:6.0f} ms", flush=True)
    if remark:
        print(f"         {remark}", flush=True)


def reason_of(body):
    """The text of a 503 response, without SQLAlchemy's link to its manual."""
    return body["detail"].split(" (Background")[0]


def wait(url):
    """Wait until the application has started, by asking for a page that uses no session."""
    for _ in range(600):
        try:
            return 0 if call(url + "/openapi.json")[0] == 200 else 1
        except urllib.error.URLError:
            time.sleep(0.1)
    return 1


class Crowd:
    """Customers who search repeatedly."""

    def __init__(self, url):
        self.url = url
        self.statuses = collections.Counter()
        self.slowest = 0.0
        self.reason = ""
        for number in range(CROWD):
            threading.Thread(target=self.search, args=(number,), daemon=True).start()

    def search(self, number):
        while True:
            status, body, seconds = call(f"{self.url}/search?word={number}")
            self.statuses[status] += 1
            if status == 200:
                self.slowest = max(self.slowest, seconds)
            else:
                self.reason = reason_of(body)

    def tell(self):
        print(f"    GET  /search, {CROWD} concurrent customers: {self.statuses[200]} answered (slowest: "
              f"{self.slowest * 1000:.0f} ms), {self.statuses[503]} refused", flush=True)
        if self.reason:
            print(f"         503 {self.reason}", flush=True)


def crowd_until_stopped(url):
    """Search until stopped; some requests are refused."""
    crowd = Crowd(url)
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    stopped.wait()
    crowd.tell()
    return 0


def crowd_served(url):
    """Search for a moment; no request is refused."""
    crowd = Crowd(url)
    while crowd.statuses.total() < 3 * CROWD:
        time.sleep(0.05)
    crowd.tell()
    return 0 if set(crowd.statuses) == {200} else 1


def health(url):
    """The load balancer: polls all the time, and never sees an error."""
    while True:
        call(url + "/health")
        time.sleep(0.4)


def customers(url):
    """Six customers, each of whom views the orders once; two buy something, one wants the money back."""
    for customer in range(1, 7):
        visit = [("GET", "/products", 200), ("GET", f"/orders?customer={customer}", 200)]
        if customer % 3 == 0:
            visit.append(("POST", f"/checkout?customer={customer}&product={customer}", 200))
        if customer == 5:
            visit.append(("POST", f"/refund?order={customer}", 502))
        for method, path, expected in visit:
            status, body, seconds = call(url + path, method)
            if path != "/products" or status != expected:
                tell(method, path, status, seconds, reason_of(body) if status != 200 else "")
            if status != expected:
                return 1
    return 0


def deliveries(url):
    """Deliver the product that customer 3 bought; return when all deliveries are booked."""
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(call(url + "/delivery?product=3", "POST")))
               for _ in range(DELIVERIES)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for status, _, seconds in answers:
        tell("POST", "/delivery?product=3", status, seconds)
    return 0 if [answer[0] for answer in answers] == [200] * DELIVERIES else 1


def refused(url):
    """Nothing works any more, except the load balancer's health check."""
    status, body, seconds = call(url + "/products")
    tell("GET", "/products", status, seconds, reason_of(body) if status != 200 else "")
    green, _, seconds = call(url + "/health")
    tell("GET", "/health", green, seconds, "the load balancer sees no problem: this route holds its own connection")
    return 0 if (status, green) == (503, 200) else 1


def served(url):
    status, _, seconds = call(url + "/products")
    tell("GET", "/products", status, seconds)
    return 0 if status == 200 else 1


PARTS = (wait, crowd_until_stopped, crowd_served, health, customers, deliveries, refused, served)

if __name__ == "__main__":
    try:
        result = {part.__name__: part for part in PARTS}[sys.argv[2]](sys.argv[1])
    except KeyboardInterrupt:
        result = 130
    sys.stdout.flush()
    os._exit(result)  # some visitors may still be waiting for an answer
