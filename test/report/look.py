"""The look at pgleak.report() in headless Chromium: that it is safe, small, readable and tells what happened.
Called by: test/report/run, with the directory for pictures. The cluster is named by PGHOST and the like.
Must never: take the page's own word for what a browser makes of it."""

import base64
import html
import pathlib
import sys
import tempfile
import time

import psycopg2
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

PATIENCE = 60  # seconds that anything may take
EVIL = "<script>document.title='caught'</script>"
EVIL_STATEMENT = "/*route='%3Cimg src=x onerror=alert(1)%3E'*/ SELECT $$</title></code>" + EVIL + "&amp;\"'$$"

SIZES = {"wide": 1280, "narrow": 390}

# Text that sticks out of the page or lies on other text: the labels of the axis, and what stands in each lane and cell.
# And times that are broken anywhere but between date and time.
FIND_OVERLAPS = """
const found = [];
if (document.documentElement.scrollWidth > window.innerWidth) found.push('the page is wider than the window');
const visible = e => e.checkVisibility() && e.getClientRects().length > 0;
const check = (elements, name) => {
  const boxes = elements.filter(visible).map(e => [e.getBoundingClientRect(), e.textContent]);
  for (let i = 0; i < boxes.length; i++) {
    const [a, text] = boxes[i];
    if (a.left < -1 || a.right > window.innerWidth + 1) found.push(name + ' sticks out: ' + text);
    for (let j = i + 1; j < boxes.length; j++) {
      const b = boxes[j][0];
      if (a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1)
        found.push(name + ' overlaps: ' + text + ' | ' + boxes[j][1]);
    }
  }
};
check([...document.querySelectorAll('.axis span')], 'axis');
check([...document.querySelectorAll('.lane > div, .lane > svg')], 'lane');
check([...document.querySelectorAll('.marks span')], 'label');
check([...document.querySelectorAll('.tile')], 'tile');
check([...document.querySelectorAll('.legend > span')], 'legend');
check([...document.querySelectorAll('td, th')], 'cell');
for (const e of document.querySelectorAll('.tile, td > div, .lane > div'))
  if (visible(e) && e.scrollWidth > e.clientWidth + 1) found.push('text is cut: ' + e.textContent);
for (const e of document.querySelectorAll('td.time > div'))
  if (visible(e) && e.clientHeight > 2.5 * parseFloat(getComputedStyle(e).lineHeight)) found.push('broken: ' + e.textContent);
return found.slice(0, 5);
"""

# Contrast of text against the page, as the WCAG computes it; 4.5 is what it demands of small text.
FIND_POOR_CONTRAST = """
const numbers = c => c.match(/[\\d.]+/g).slice(0, 3).map(Number);
const luminance = c => numbers(c).map(v => v / 255).map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
  .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const page = luminance(getComputedStyle(document.body).backgroundColor);
const poor = new Set();
for (const e of document.querySelectorAll('h1, h2, h3, p, b, span, td, th, code')) {
  const text = luminance(getComputedStyle(e).color);
  const contrast = (Math.max(text, page) + 0.05) / (Math.min(text, page) + 0.05);
  if (contrast < 4.5) poor.add(e.tagName + '.' + e.className + ' ' + contrast.toFixed(1));
}
return [...poor];
"""


def check(name, holds, detail=""):
    print(f"{'ok' if holds else 'not ok'} - {name}" + (f": {detail}" if detail and not holds else ""), flush=True)


def eventually(cursor, query):
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        cursor.execute(query)
        if cursor.fetchone()[0]:
            return True
        time.sleep(0.05)
    return False


def open_browser(scheme):
    options = Options()
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                 "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
                 "--disable-dev-shm-usage", f"--user-data-dir={tempfile.mkdtemp()}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(service=Service("/usr/bin/chromedriver"), options=options)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia",
                            {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
    return browser


def show(browser, page, width):
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                            {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False})
    browser.get(page.as_uri())


def take_picture(browser, file, tallest=2400):
    height = browser.execute_script("return document.documentElement.scrollHeight")
    width = browser.execute_script("return window.innerWidth")
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                            {"width": width, "height": min(height, tallest), "deviceScaleFactor": 1, "mobile": False})
    browser.save_screenshot(str(file))


def take_picture_of(browser, heading, file, until="h2"):
    """Of one section only, up to an element."""
    box = browser.execute_script("""
        const head = [...document.querySelectorAll('h2')].find(h => h.innerText.startsWith(arguments[0]));
        const all = [...document.querySelectorAll(arguments[1])];
        const end = all.find(e => head.compareDocumentPosition(e) & Node.DOCUMENT_POSITION_FOLLOWING);
        return [head.getBoundingClientRect().top + scrollY, end.getBoundingClientRect().top + scrollY, innerWidth]""", heading, until)
    picture = browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": {
        "x": 0, "y": box[0] - 10, "width": box[2], "height": box[1] - box[0], "scale": 1}})
    file.write_bytes(base64.b64decode(picture["data"]))


def report(cursor, directory, name):
    began = time.monotonic()
    cursor.execute("SELECT pgleak.report()")
    text = cursor.fetchone()[0]
    seconds = time.monotonic() - began
    page = directory / f"{name}.html"
    page.write_text(text, encoding="utf-8")
    return page, text, seconds


def pool_row():
    """How the row of the leaking session's pool begins, for LIKE."""
    return f'<td data-label="Pool"><div>{html.escape(EVIL, quote=True).replace("&#x27;", "&#39;")}'


def leak(name, statement):
    connection = psycopg2.connect("", application_name=name)
    connection.cursor().execute(statement)
    return connection


def look_at_pools(browser, cursor, directory):
    """The day of some pools: that what the charts show can be seen, and read without seeing them."""
    show(browser, directory / "day.html", 1280)
    cursor.execute("SELECT count(DISTINCT (scope, application_name)) FROM pgleak.pool_samples WHERE verdict <> 'ok'")
    troubled = cursor.fetchone()[0]
    body = browser.find_element("tag name", "body").text
    heads = browser.execute_script(
        "return [...document.querySelectorAll('.lane.pool > div:first-child')].map(e => e.innerText.split('\\n')[0])")
    check("the worst pools come first", heads[:3] == ["shop-api", "shop-jobs", "mobile-backend-with-quite-a-long-name-and-version-12.4"],
          str(heads))
    check("those left out are counted", len(heads) == 8 and f"the worst 8 of {troubled} pools" in body, str(heads))
    boxes = browser.execute_script("""
        return [...document.querySelectorAll('.lane.pool')].slice(0, 2).map(lane =>
            Object.fromEntries(['size', 'in-use', 'leaked', 'waiting'].map(c => [c, [lane.querySelector('path.' + c).getBBox().width, lane.querySelector('path.' + c).getBBox().height]])))""")
    (api, jobs) = boxes
    check("each line that is not zero can be seen", api["leaked"][0] > 200 and api["leaked"][1] > 50 and api["waiting"][0] == 0 and
          jobs["waiting"][0] > 40 and jobs["leaked"][0] == 0 and api["in-use"][0] > 200 and jobs["size"][0] > 40, str(boxes))
    colors = browser.execute_script("return [...document.querySelectorAll('.legend path.strip')].map(p => getComputedStyle(p).stroke)")
    check("the legend has a color for each verdict", len(colors) == 5 and len(set(colors)) >= 4 and "none" not in colors, str(colors))
    gaps = browser.execute_script("return [...document.querySelectorAll('.lane.pool')].map(l => [...l.querySelectorAll('svg .gap')]"
                                  ".filter(g => g.getBBox().width > 70 && g.getBBox().width < 90).length)")
    check("two hours without samples are a gap in each chart", gaps == [1] * 8, str(gaps))
    rows = browser.execute_script(
        "return [...document.querySelectorAll('h3 + table tbody tr')].map(r => [...r.cells].map(c => c.innerText))")
    changes = [row[2] for row in rows if row[1].startswith("shop-api")]
    check("the changes of a verdict are a table, too", changes == ["leak", "leaking", "ok"], str(rows))
    marks = browser.execute_script("return document.querySelectorAll('.lane.pool .mark').length")
    check("each has its mark", marks == len(rows), f"{marks} of {len(rows)}")
    times = [row[0] for row in rows]
    check("they are in the order of time", times == sorted(times), str(times))
    check("labels name verdicts and times", browser.execute_script(
        "return [...document.querySelectorAll('.lane.pool')][0].querySelector('.marks').innerText").startswith("leak "))


def watch(browser, page, directory, name, scheme):
    """Looks at one page in both widths."""
    for size, width in SIZES.items():
        show(browser, page, width)
        overlaps = browser.execute_script(FIND_OVERLAPS)
        check(f"{name}, {scheme}, {width} px: nothing overlaps, sticks out or is cut", not overlaps, "; ".join(overlaps))
        poor = browser.execute_script(FIND_POOR_CONTRAST)
        check(f"{name}, {scheme}, {width} px: text can be read", not poor, ", ".join(poor))
        if "Pools in trouble" in page.read_text(encoding="utf-8"):
            take_picture_of(browser, "Pools in trouble", directory / f"pools-{name}-{scheme}-{size}.png")
        take_picture(browser, directory / f"report-{name}-{scheme}-{size}.png")
    console = [entry["message"] for entry in browser.get_log("browser")]
    check(f"{name}, {scheme}: nothing in the browser's console", not console, "; ".join(console))


def main():
    directory = pathlib.Path(sys.argv[1])
    administrator = psycopg2.connect("")
    administrator.autocommit = True
    cursor = administrator.cursor()
    browsers = {scheme: open_browser(scheme) for scheme in ("light", "dark")}
    browser = browsers["light"]

    page, _, _ = report(cursor, directory, "empty")
    show(browser, page, 1280)
    check("without a leak it says so", "No session leaked" in browser.find_element("tag name", "body").text)

    leaks = [leak(EVIL, EVIL_STATEMENT)]
    check("the leak is recorded", eventually(cursor, "SELECT count(*) = 1 FROM pgleak.history"))
    page, _, _ = report(cursor, directory, "evil")
    show(browser, page, 1280)
    body = browser.find_element("tag name", "body").text
    check("no name or statement becomes part of the page",
          browser.execute_script("return document.querySelectorAll('script, img').length") == 0)
    check("nothing of them is run", browser.title == "pgleak: session leaks", browser.title)
    check("they can be read as they were", EVIL[:60] in body and "</title></code>" + EVIL in body, body)
    check("its pool is there", eventually(cursor, f"SELECT pgleak.report() LIKE '%{pool_row()}%'"))
    check("nothing comes from elsewhere", not browser.execute_script(
        "return performance.getEntriesByType('resource').filter(r => !r.name.startsWith('data:')).map(r => r.name)"))
    check("a leak that is open is drawn, and can be seen", browser.execute_script(
        "const bars = [...document.querySelectorAll('.lane svg rect.open')].map(b => b.getBoundingClientRect());"
        "const right = document.querySelector('.lane svg').getBoundingClientRect().right;"
        "return bars.length == 1 && bars[0].width > 1 && bars[0].right <= right + 1"))

    fill = pathlib.Path(__file__).with_name("history.sql").read_text(encoding="utf-8")
    cursor.execute(fill % {"episodes": 90})
    pools = pathlib.Path(__file__).with_name("pools.sql").read_text(encoding="utf-8")
    cursor.execute(pools % {})
    page, _, _ = report(cursor, directory, "day")
    for scheme, one in browsers.items():
        watch(one, page, directory, "day", scheme)
    look_at_pools(browser, cursor, directory)
    take_picture_of(browser, "Pools in trouble", directory / "pools.png", until="p")
    browser.execute_script("document.querySelector('details').open = true")
    steps = browser.find_element("css selector", "details").text
    check("a transaction shows its statements and its silence", all(
        word in steps for word in ("BEGIN", "3 times in a row", "5 more", "silence", "COMMIT")), steps)
    check("and both as bars", browser.execute_script(
        "return document.querySelectorAll('.course .work').length > 3 && document.querySelectorAll('.course .silence').length > 3"))
    take_picture_of(browser, "Inside the worst", directory / "transactions.png")
    show(browser, page, 1280)
    cursor.execute("SELECT count(*) FROM pgleak.history WHERE ended_at >= now() - interval '1 day' OR ended_at IS NULL")
    take_picture(browser, directory / "report.png", tallest=1000)
    check("every episode has its bar", browser.execute_script(
        "return [...document.querySelectorAll('.lane svg g')].filter(g => !g.querySelector('.horizon') && !g.closest('.pool, .course')).length") == cursor.fetchone()[0])
    cursor.execute("SELECT DISTINCT coalesce(outcome, 'open') FROM pgleak.history")
    legend = browser.find_element("css selector", ".legend").text
    check("the legend explains every outcome", all(outcome in legend for (outcome,) in cursor.fetchall()), legend)

    cursor.execute("DELETE FROM pgleak.history WHERE system_identifier = 1")
    cursor.execute(fill % {"episodes": 10000})
    page, text, seconds = report(cursor, directory, "crowd")
    print(f"# 10,000 episodes: {len(text.encode()) // 1024} kB in {seconds:.2f} s")
    check("10,000 episodes make a page of less than 2 MB", len(text.encode()) < 2_000_000)
    for scheme, one in browsers.items():
        watch(one, page, directory, "crowd", scheme)
    for connection in leaks:
        connection.close()
    top = directory / "top.html"
    if top.exists():
        show(browser, top, 1060)
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": 1060, "height": browser.execute_script(
            "return document.documentElement.offsetHeight"), "deviceScaleFactor": 1, "mobile": False})
        browser.save_screenshot(str(directory / "top.png"))
    for one in browsers.values():
        one.quit()


if __name__ == "__main__":
    main()
