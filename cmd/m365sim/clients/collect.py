"""A collector that shares nothing with the project, against a running m365sim in which simulated time runs fast and everything fails now
and then: only `requests` and the API reference. It follows the feed for a week of the service's time and then holds what it has against
the simulator's ledger, blob by blob, by the SHA-256 of the bytes.

    m365sim -speed 5000 -live-rate 0.002 -fault internal=0.05 -fault cut=0.05 …
    collect.py URL CA TENANT [DAYS]
"""
import datetime
import email.utils
import hashlib
import json
import sys
import time

import requests

CLIENT, SECRET = "8d1f2c3a-0b4e-4a55-9c66-7d7788990a0b", "simulator-secret"
TYPES = ["Audit.AzureActiveDirectory", "Audit.Exchange", "Audit.SharePoint", "Audit.General", "DLP.All"]
FIRST = datetime.timedelta(hours=12)  # so long after a start, content that is dated back may appear for the first time
OVERLAP, WINDOW, BACKFILL = datetime.timedelta(hours=2), datetime.timedelta(hours=23), datetime.timedelta(hours=22)
PAUSE = 0.02  # seconds after a failure; the service's time runs fast


class Collector:
    def __init__(self, url, ca, tenant):
        self.url, self.tenant = url, tenant
        self.feed = f"{url}/api/v1.0/{tenant}/activity/feed"
        self.session = requests.Session()
        self.session.verify, self.session.trust_env = ca, False
        self.now, self.failures, self.blobs, self.records, self.since = None, {}, {}, 0, None

    def once(self, method, url, **kw):
        """One request; its body, or None where it failed in a way that passes."""
        try:
            r = self.session.request(method, url, timeout=30, **kw)
            body = r.content
        except requests.exceptions.RequestException as e:
            return self.failed(type(e).__name__)
        self.now = email.utils.parsedate_to_datetime(r.headers["Date"])
        if r.status_code == 401:
            self.failed("401")
            return None if "/oauth2/" in url else self.sign_in()
        if r.status_code != 200:
            if r.status_code < 500 and r.status_code != 429 and b"AF429" not in body:
                raise SystemExit(f"{method} {url}: {r.status_code} {r.text}")
            return self.failed(str(r.status_code))
        try:
            self.header = r.headers
            return body, json.loads(body)
        except ValueError:
            return self.failed("half an answer")

    def failed(self, what):
        self.failures[what] = self.failures.get(what, 0) + 1
        time.sleep(PAUSE)

    def again(self, method, url, **kw):
        for _ in range(100):
            answer = self.once(method, url, **kw)
            if answer:
                return answer
        raise SystemExit(f"{method} {url}: failed 100 times")

    def sign_in(self):
        form = {"grant_type": "client_credentials", "client_id": CLIENT, "client_secret": SECRET, "resource": "https://manage.office.com"}
        self.session.headers.pop("Authorization", None)
        _, answer = self.again("POST", f"{self.url}/{self.tenant}/oauth2/token", data=form)
        self.session.headers["Authorization"] = "Bearer " + answer["access_token"]

    def get(self, url, **params):
        return self.again("GET", url, params={**params, "PublisherIdentifier": self.tenant})

    def start(self, content_type):
        """Start once, then look: an attempt whose answer was lost has been applied."""
        while all(s["contentType"] != content_type or s["status"] != "enabled" for s in self.get(f"{self.feed}/subscriptions/list")[1]):
            try:
                self.once("POST", f"{self.feed}/subscriptions/start", params={"contentType": content_type, "PublisherIdentifier": self.tenant})
            except SystemExit as e:
                if "AF20024" not in str(e):
                    raise

    def poll(self, content_type, cursor):
        end, start = self.now, cursor - OVERLAP
        while start < end:
            stop = min(start + WINDOW, end)
            text = [t.strftime("%Y-%m-%dT%H:%M:%S") for t in (start, stop)]
            _, page = self.get(f"{self.feed}/subscriptions/content", contentType=content_type, startTime=text[0], endTime=text[1])
            while True:
                following = self.header.get("NextPageUri")
                for blob in page:
                    if blob["contentId"] not in self.blobs:
                        body, records = self.get(blob["contentUri"])
                        self.blobs[blob["contentId"]] = hashlib.sha256(body).hexdigest()
                        self.records += len(records)
                if not following:
                    break
                _, page = self.get(following)
            start = stop
        return end if end - self.since > FIRST else cursor

    def judge(self, since):
        """Everything that was visible two hours ago must be here, byte for byte."""
        until, want, problems = self.now - datetime.timedelta(hours=2), 0, 0
        lines = self.session.get(f"{self.url}/_sim/blobs/{self.tenant}?hash=1", timeout=600).text.splitlines()
        for row in map(json.loads, lines):
            if datetime.datetime.fromisoformat(row["created"]) < since or datetime.datetime.fromisoformat(row["visible"]) > until:
                continue
            want += 1
            if self.blobs.get(row["contentId"]) != row["sha256"]:
                problems += 1
                print("missing or altered:", row["contentId"])
        ledger = self.session.get(f"{self.url}/_sim/ledger", timeout=60).json()
        print(f"{want} blobs were there, {len(self.blobs)} were loaded with {self.records} records, {problems} are missing or altered")
        print("failures met:", self.failures)
        print("faults in the ledger:", ledger["faults"])
        print("improper:", ledger["improper"], "tokens:", ledger["tokens"])
        return 1 if problems or not want or ledger["improper"] else 0


def main(url, ca, tenant, days="7"):
    c = Collector(url, ca, tenant)
    c.sign_in()
    for content_type in TYPES:
        c.start(content_type)
    since = c.since = c.now  # the last subscription is the youngest; back-fill reaches so far before it
    cursors = {t: since - BACKFILL + OVERLAP for t in TYPES}
    while c.now < since + datetime.timedelta(days=float(days)):
        for t in TYPES:
            cursors[t] = c.poll(t, cursors[t])
    return c.judge(since - BACKFILL + datetime.timedelta(minutes=1))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:])) if len(sys.argv) in (4, 5) else sys.exit(__doc__)
