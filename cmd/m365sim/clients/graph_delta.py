"""Delta queries of Microsoft Graph with plain `requests` against a running m365sim: keeps a copy of users, groups and members by the
changes of round after round and holds it against a full read.

    m365sim -speed 600 -dir DIR                 (something changes every second)
    graph_delta.py follow URL CA TENANT LINK    writes the last delta link to the file LINK
    m365sim -speed 100000 -dir DIR              (the same folder, more than a week later)
    graph_delta.py expired URL CA TENANT LINK   the link must be refused with 410 and tell where to start again
"""
import sys
import time
import urllib.parse

import requests

CLIENT, SECRET = "8d1f2c3a-0b4e-4a55-9c66-7d7788990a0b", "simulator-secret"


class Graph:
    def __init__(self, url, ca, tenant):
        self.url, self.tenant, self.session = url, tenant, requests.Session()
        self.session.verify, self.session.trust_env = ca, False

    def get(self, url):
        for _ in range(3):
            r = self.session.get(url, headers={"Prefer": "odata.maxpagesize=20"}, timeout=30)
            if r.status_code != 401:
                return r
            form = {"grant_type": "client_credentials", "client_id": CLIENT, "client_secret": SECRET, "scope": "https://graph.microsoft.com/.default"}
            token = self.session.post(f"{self.url}/{self.tenant}/oauth2/v2.0/token", data=form, timeout=30)
            token.raise_for_status()
            self.session.headers["Authorization"] = "Bearer " + token.json()["access_token"]
        raise SystemExit(f"{url}: {r.status_code} {r.text}")

    def round(self, url):
        objects = []
        while True:
            r = self.get(url)
            r.raise_for_status()
            page = r.json()
            objects += page["value"]
            if "@odata.deltaLink" in page:
                return objects, page["@odata.deltaLink"]
            url = page["@odata.nextLink"]


class Copy:
    def __init__(self):
        self.objects, self.members, self.seen = {}, {}, {"new": 0, "changed": 0, "removed": 0, "member in": 0, "member out": 0}

    def apply(self, objects):
        for o in objects:
            if "@removed" in o:
                self.seen["removed"] += 1
                self.objects.pop(o["id"], None), self.members.pop(o["id"], None)
                continue
            self.seen["changed" if o["id"] in self.objects else "new"] += 1
            members = self.members.setdefault(o["id"], set())
            for m in o.pop("members@delta", []):
                self.seen["member out" if "@removed" in m else "member in"] += 1
                members.discard(m["id"]) if "@removed" in m else members.add(m["id"])
            self.objects[o["id"]] = o

    def same(self, other):
        return self.objects == other.objects and self.members == other.members


def follow(graph, link_file):
    copies, links, first = {}, {}, {}
    for kind in ("users", "groups"):
        copies[kind] = Copy()
        objects, links[kind] = graph.round(f"{graph.url}/v1.0/{kind}/delta")
        copies[kind].apply(objects)
        first[kind], copies[kind].seen = len(objects), dict.fromkeys(copies[kind].seen, 0)
    seen, wanted = lambda: {k: copies["users"].seen[k] + copies["groups"].seen[k] for k in copies["users"].seen}, time.time() + 300
    while not all(seen().values()):
        if time.time() > wanted:
            raise SystemExit(f"not every kind of change came within five minutes: {seen()}")
        time.sleep(2)
        for kind in copies:
            objects, links[kind] = graph.round(links[kind])
            copies[kind].apply(objects)
    for kind in copies:
        for _ in range(20):  # something may change between the two reads
            full = Copy()
            objects, links[kind] = graph.round(links[kind])
            copies[kind].apply(objects)
            full.apply(graph.round(f"{graph.url}/v1.0/{kind}/delta")[0])
            if copies[kind].same(full):
                break
        else:
            raise SystemExit(f"{kind} by changes are not those of a full read")
        print(f"{kind}: {first[kind]} at first, {len(full.objects)} now; by changes and by a full read the same; {copies[kind].seen}")
    with open(link_file, "w") as f:
        f.write(links["users"])
    return 0


def expired(graph, link_file):
    link = urllib.parse.urlsplit(open(link_file).read())
    link = graph.url + link.path + "?" + link.query  # the port may be another one now
    for _ in range(120):
        r = graph.get(link)
        if r.status_code == 410:
            again, _ = graph.round(r.headers["Location"])
            print(f"an old link: 410 {r.json()['error']['code']}, from the start again {len(again)} users")
            return 0
        time.sleep(1)
    raise SystemExit(f"the link never expired: {r.status_code}")


if __name__ == "__main__":
    if len(sys.argv) != 6 or sys.argv[1] not in ("follow", "expired"):
        sys.exit(__doc__)
    sys.exit({"follow": follow, "expired": expired}[sys.argv[1]](Graph(*sys.argv[2:5]), sys.argv[5]))
