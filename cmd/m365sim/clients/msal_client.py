"""A client that nobody of this project wrote, against a running m365sim: MSAL for Python signs in with a secret and with a
certificate, requests reads a week of the feed and the users of the directory.

    python -m venv venv && venv/bin/pip install msal requests cryptography
    venv/bin/python msal_client.py make-certificate cert.pem key.pem
    m365sim -subscribed -live-rate -1 -certificate cert.pem
    venv/bin/python msal_client.py check URL CA TENANT cert.pem key.pem

Prints what it read and exits with 1 if the ledger says that something was not served.
"""
import datetime
import json
import sys
import urllib.parse

import msal
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

CLIENT = "8d1f2c3a-0b4e-4a55-9c66-7d7788990a0b"
SECRET = "simulator-secret"
TYPES = ["Audit.AzureActiveDirectory", "Audit.Exchange", "Audit.SharePoint", "Audit.General", "DLP.All"]


def make_certificate(cert_file, key_file):
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "collector")])
    now = datetime.datetime.now(datetime.timezone.utc)
    cert = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
            .serial_number(x509.random_serial_number()).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=30))
            .sign(key, hashes.SHA256()))
    with open(cert_file, "wb") as f:
        f.write(cert.public_bytes(serialization.Encoding.PEM))
    with open(key_file, "wb") as f:
        f.write(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))


def session(ca):
    s = requests.Session()
    s.verify, s.trust_env = ca, False  # a CA bundle named in the environment would win otherwise
    return s


def token(url, ca, tenant, credential, resource):
    app = msal.ConfidentialClientApplication(CLIENT, authority=f"{url}/{tenant}", client_credential=credential, http_client=session(ca),
                                             instance_discovery=False, validate_authority=False)
    answer = app.acquire_token_for_client([resource + "/.default"])
    if "access_token" not in answer:
        raise SystemExit(f"no token: {answer.get('error_description', answer)}")
    return answer["access_token"]


def pages(get, first, header):
    """Follows a listing; the next page is named in a header of the feed and in the body of Graph."""
    while first:
        r = get(first)
        r.raise_for_status()
        yield r.json()
        first = r.headers.get("NextPageUri") if header else r.json().get("@odata.nextLink")


def check(url, ca, tenant, cert_file, key_file):
    cert, key = open(cert_file).read(), open(key_file).read()
    der = x509.load_pem_x509_certificate(cert.encode())
    by_secret = token(url, ca, tenant, SECRET, "https://manage.office.com")
    by_cert = token(url, ca, tenant, {"private_key": key, "thumbprint": der.fingerprint(hashes.SHA1()).hex(), "public_certificate": cert}, "https://graph.microsoft.com")
    feed = f"{url}/api/v1.0/{tenant}/activity/feed"
    s = session(ca)
    s.headers["Authorization"] = "Bearer " + by_secret
    publisher = {"PublisherIdentifier": tenant}
    now = datetime.datetime.now(datetime.timezone.utc)
    records, blobs = 0, set()
    for content_type in TYPES:
        for day in range(7, 0, -1):
            start, end = now - datetime.timedelta(days=day), now - datetime.timedelta(days=day - 1)
            query = urllib.parse.urlencode({"contentType": content_type, "startTime": start.strftime("%Y-%m-%dT%H:%M:%S"), "endTime": end.strftime("%Y-%m-%dT%H:%M:%S")})
            for page in pages(lambda u: s.get(u, params=publisher), f"{feed}/subscriptions/content?{query}", True):
                for blob in page:
                    if blob["contentId"] in blobs:
                        continue
                    blobs.add(blob["contentId"])
                    r = s.get(blob["contentUri"], params=publisher)
                    r.raise_for_status()
                    records += len(r.json())
    g = session(ca)
    g.headers["Authorization"] = "Bearer " + by_cert
    users = sum(len(p["value"]) for p in pages(g.get, f"{url}/v1.0/users/delta", False))
    groups = sum(len(p["value"]) for p in pages(g.get, f"{url}/v1.0/groups/delta", False))
    ledger = s.get(f"{url}/_sim/ledger").json()["tenants"][0]
    missing = [row for row in ledger["content"] if row["blobs"] != row["blobsServed"]]
    print(f"{len(blobs)} blobs, {records} records, {users} users, {groups} groups; not served: {json.dumps(missing)}")
    return 1 if missing or users != ledger["users"] else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["make-certificate"] and len(sys.argv) == 4:
        make_certificate(*sys.argv[2:])
    elif sys.argv[1:2] == ["check"] and len(sys.argv) == 7:
        sys.exit(check(*sys.argv[2:]))
    else:
        sys.exit(__doc__)
