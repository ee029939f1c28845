#!/usr/bin/env python3
"""A client in Python that uses only the standard library. It shows how to read lists page by page, repeat writes safely, change
rows without overwriting the changes of other clients, print the API's errors, and count the queries of each answer. client.ts and
client.rs are the same client in other languages.

    python3 examples/clients/client.py http://127.0.0.1:3000

If the API requires a token, set it in REZNET_TOKEN.
"""

import json
import os
import re
import sys
import time
import urllib.error
import urllib.request
import uuid

ATTEMPTS = 5


class Problem(Exception):
    """A problem document that the API returned (RFC 9457)."""

    def __init__(self, problem):
        faults = "; ".join(fault["detail"] for fault in problem.get("errors", []))
        super().__init__(f"{problem['status']}: {problem['detail']} {faults} (request {problem['request_id']})")
        self.status = problem["status"]


class RezNet:
    """The API at an address, such as http://127.0.0.1:3000."""

    def __init__(self, address, token=None):
        self.address = address.rstrip("/")
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.query_count = 0
        # The read-your-writes token of the latest write. Later reads from a replica or a cache then include that write.
        self.written = None

    def request(self, method, path, body=None, if_match=None):
        """Sends a request, and returns the answer's JSON, the path of the next page, and the entity tag. Each write has an idempotency
        key, so the API executes it once even if it's sent several times. With if_match, the API executes the write only if the row
        still has that tag."""
        headers = dict(self.headers)
        if if_match:
            headers["If-Match"] = if_match
        if method != "GET":
            headers["Idempotency-Key"] = str(uuid.uuid4())
        elif self.written:
            headers["X-Written"] = self.written
        data = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            data = json.dumps(body).encode()
        for attempt in range(1, ATTEMPTS + 1):
            request = urllib.request.Request(self.address + path, data, headers, method=method)
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    self.query_count += int(answer.headers["X-Query-Count"])
                    self.written = answer.headers.get("X-Written", self.written)
                    following = re.search(r'<(.*)>; rel="next"', answer.headers.get("Link", ""))
                    text = answer.read()
                    return json.loads(text) if text else None, following and following[1], answer.headers.get("ETag")
            except urllib.error.HTTPError as error:
                wait = error.headers.get("Retry-After", "1")
                self.written = error.headers.get("X-Written", self.written)
                problem = json.load(error)
                if error.code not in (503, 504) or attempt == ATTEMPTS:
                    raise Problem(problem) from None
            except (urllib.error.URLError, TimeoutError):
                # Without a response, a read may be sent again, and so may a write, because it has an idempotency key.
                wait = "1"
                if attempt == ATTEMPTS:
                    raise
            time.sleep(float(wait))

    def pages(self, path):
        """Returns every item of a list, page by page. No item is returned twice, even if other clients write during the reads."""
        while path:
            items, path, _ = self.request("GET", path)
            yield from items

    def change(self, path, members_of):
        """Changes the row at a path. members_of gets the current row, and returns the members to change. If another client changes the
        row between the read and the write, reads the row and calls members_of again, so that no change is lost."""
        while True:
            row, _, tag = self.request("GET", path)
            try:
                return self.request("PATCH", path, members_of(row), if_match=tag)[0]
            except Problem as problem:
                if problem.status != 412:
                    raise


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: client.py ADDRESS, as http://127.0.0.1:3000")
    api = RezNet(sys.argv[1], os.environ.get("REZNET_TOKEN"))

    names = [agent["name"] for agent in api.pages("/api/agents?limit=2")]
    print("agents:", *names)

    channels = {channel["name"]: channel for channel in api.pages("/api/channels")}
    messages = f"/api/channels/{channels['general']['id']}/messages"
    written, _, _ = api.request("POST", messages, {"content": "Hello from Python.", "author_name": "client.py"})
    newest, _, _ = api.request("GET", f"{messages}?limit=1")
    assert newest == [written], "what was written is the newest"
    print("written:", written["content"])

    overtaken = []

    def with_a_note(channel):
        topic = (channel["topic"] or "")[:400]
        if not overtaken:
            # At the first call, sends another client's change between this client's read and its write. Neither change may be lost.
            overtaken.append(True)
            api.request("PATCH", path, {"topic": topic + " Python was here."})
        return {"topic": topic + " And again."}

    path = f"/api/channels/{channels['general']['id']}"
    print("changed:", api.change(path, with_a_note)["topic"])

    try:
        api.request("POST", messages, {"content": "", "autor_name": "a slip"})
    except Problem as problem:
        print("refused:", problem)
    print("queries:", api.query_count)


if __name__ == "__main__":
    main()
