# Owns: the customers of the demonstration: real HTTP requests, first until the shop is out of connections, then the
#   health check alone until its transaction is old.
# Called by: demo/run, as `drive.py URL SECONDS`; exits with 0 only if the shop ran into its pool's limit.
# Must never: talk to the database. All it knows is what a customer and a load balancer see.

import json
import sys
import threading
import time
import urllib.error
import urllib.request


def call(url, method="GET"):
    """One request: its status, its body and how long it took."""
    start = time.monotonic()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=30) as response:
            status, body = response.status, json.load(response)
    except urllib.error.HTTPError as error:
        status, body = error.code, json.load(error)
    return status, body, time.monotonic() - start


def tell(method, path, status, seconds, remark=""):
    print(f"    {method:4} {path:32} {status}  {seconds * 1000:5.0f} ms", flush=True)
    if remark:
        print(f"         {remark}", flush=True)


def wait_for_shop(url):
    """The application needs a moment to start."""
    for _ in range(200):
        try:
            return call(url + "/products")
        except urllib.error.URLError:
            time.sleep(0.1)
    sys.exit("the application did not start")


def customer_visits(url, customer):
    """What one customer does; the answers that matter are printed. True as long as the shop works."""
    visit = [("GET", "/products"), ("GET", f"/orders?customer={customer}")]
    if customer % 3 == 0:
        visit.append(("POST", f"/checkout?customer={customer}&product={customer}"))
    for method, path in visit:
        status, body, seconds = call(url + path, method)
        if path != "/products" or status != 200:
            tell(method, path, status, seconds, body["detail"].split(" (Background")[0] if status != 200 else "")
        if status != 200:
            return False
    return True


def watch_health(url, pause=0.4):
    """The load balancer: asks all the time, and never hears that anything is wrong."""
    while True:
        call(url + "/health")
        time.sleep(pause)


def main(url, seconds):
    wait_for_shop(url)
    threading.Thread(target=watch_health, args=(url,), daemon=True).start()
    started = time.monotonic()
    print("    (every customer also looks at /products, which is written well and always gives its session back)")
    works = True
    for customer in range(1, 100):
        works = customer_visits(url, customer)
        if not works:
            break
    status, _, took = call(url + "/health")
    tell("GET", "/health", status, took, "the load balancer sees no trouble: this route holds a connection of its own")
    time.sleep(max(0.0, started + seconds - time.monotonic()))
    return 1 if works else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1], float(sys.argv[2])))
    except KeyboardInterrupt:
        sys.exit(130)
