"""Rules of this API that schemathesis can't read from openapi.json.

Changes generated requests so that valid data is really valid. For example, a reference in a body must name an existing row, which JSON
Schema can't express. Replaces only valid UUIDs, so data that is invalid on purpose stays invalid. Also checks the effect of DELETE.
"""

import json
import os
import pathlib
import re
import unicodedata
import uuid

import requests
import schemathesis

AGENT = "4a922d03-4c26-4ca9-a1ce-5625fd2f50f6"
CHANNEL = "0b0aa6a4-2c0f-4b38-8f0b-6a5a3c1d9a10"
WORKFLOW = "c2b5d0f4-7f43-4f0e-8a5e-1d2f3a4b5c6d"
TASK = "e7a1b9c0-5d3f-4e2a-9b8c-7d6e5f4a3b2c"
ROWS = {"agent_id": AGENT, "orchestrator_id": AGENT, "assigned_to": AGENT, "author_id": AGENT, "channel_id": CHANNEL,
        "workflow_id": WORKFLOW}


OPENAPI = json.loads((pathlib.Path(__file__).parents[2] / "openapi.json").read_text(encoding="utf-8"))
# The pattern of channel names in openapi.json.
NAME = OPENAPI["components"]["schemas"]["ChannelCreate"]["properties"]["name"]["pattern"]


def is_uuid(value):
    try:
        return isinstance(value, str) and str(uuid.UUID(value)) == value.lower()
    except ValueError:
        return False


def is_position(value):
    return type(value) in (int, float) and value in range(100)


def visible(name):
    """Returns the name without the characters that the API refuses as invisible, although openapi.json's pattern permits them."""
    name = "".join(c for c in name if c not in "\u200c\u200d\ufe0f" and unicodedata.category(c) not in ("Cf", "Zs") or c == " ")
    name = re.sub(" +", " ", name)
    return "a" + name if not name or unicodedata.category(name[0]).startswith("M") else name


def refer_to_rows(value):
    if isinstance(value, list):
        return [refer_to_rows(item) for item in value]
    # Makes a large number smaller, because the API refuses numbers above 1e308 in free-form objects. JSON Schema can't express this limit
    # for every depth.
    if isinstance(value, float) and 1e308 < abs(value) < float("inf"):
        return value / 10
    if not isinstance(value, dict):
        return value
    changed = {name: refer_to_rows(member) for name, member in value.items()}
    for name, row in ROWS.items():
        if is_uuid(changed.get(name)):
            changed[name] = row
    for name in ("name", "author_name"):
        text = changed.get(name)
        if isinstance(text, str) and len(text) <= 100 and re.search(NAME, text):
            changed[name] = visible(text)[:100]
    # Adds an author_id if an agent's message has none, because the API requires it. Removes a thread_id, because it must name a message
    # of the same channel, and a generated ID never does.
    if changed.get("author_type") == "agent" and changed.get("author_id") is None:
        changed["author_id"] = AGENT
    if is_uuid(changed.get("thread_id")):
        changed["thread_id"] = None
    depends_on = changed.get("depends_on")
    if isinstance(depends_on, list) and len(depends_on) <= 100:
        if all(is_uuid(item) for item in depends_on) or all(is_position(item) for item in depends_on):
            changed["depends_on"] = []
    return changed


@schemathesis.hook
def before_call(ctx, case, kwargs):
    case.body = refer_to_rows(case.body)
    # Replaces a valid key with a new one, because the API refuses a key that another request has used.
    headers = case.headers or {}
    if re.fullmatch("[!-~]{1,255}", headers.get("Idempotency-Key", "")):
        headers["Idempotency-Key"] = str(uuid.uuid4())
    # A generated tag never matches the row's tag, so the API would answer 412 each time. Replaces the tag with `*`.
    if "If-Match" in headers:
        headers["If-Match"] = "*"
    path = case.path_parameters or {}
    # Replaces both IDs in half of the requests, because generated IDs never name a workflow and one of its tasks.
    if is_uuid(path.get("task_id")) and is_uuid(path.get("id")) and path["task_id"][-1] in "02468ace":
        path["id"], path["task_id"] = WORKFLOW, TASK
    # Replaces null by a random ID, because a sequence of requests uses a reference from a response even if the reference is null.
    for name, value in path.items():
        if value in (None, "None"):
            path[name] = str(uuid.uuid4())
    # Deletes no row that other requests refer to. Responses contain the IDs of these rows, so a sequence of requests could delete them.
    if case.method.upper() == "DELETE":
        for name, row in path.items():
            if row in (AGENT, CHANNEL, WORKFLOW, TASK) and not (name == "id" and "task_id" in path):
                path[name] = str(uuid.uuid4())


@schemathesis.check
def archived_channel_stays(ctx, response, case):
    """After DELETE, a channel must exist and be archived. Replaces the check use_after_free, which expects that the channel is gone."""
    if case.operation.method.upper() != "DELETE" or "/api/channels/" not in case.operation.path or response.status_code != 200:
        return
    token = {"Authorization": f"Bearer {os.environ['SCHEMATHESIS_API_TOKEN']}"}
    after = requests.get(response.request.url, headers=token, timeout=10)
    assert after.status_code == 200 and after.json()["is_archived"], f"after DELETE: {after.status_code} {after.text}"
