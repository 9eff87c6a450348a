"""The OpenAPI documents of the server, as tools that nobody here wrote take them.

    python tests/clients/openapi.py target/debug/limitry

For each document, with a store and in memory: `schemathesis` sends what it says may be sent, and
more, and fails where an answer is a fault of the server or not said. `openapi-python-client` makes
a client of it, and the client's answers are compared with plain HTTP's and with known numbers.
"""

import datetime
import importlib
import json
import pathlib
import re
import subprocess
import sys
import tempfile

import httpx
from program import new_key, running

TOOLS = pathlib.Path(sys.executable).parent
CHECKS = ",".join(
    [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_schema_conformance",
    ]
)


def new_keys(program, folder):
    """A key of each generation, and the file that opens for them."""
    keys, lines = {}, []
    for generation in (1, 2, 3):
        keys[generation], line = new_key(program, generation)
        lines.append(line)
    (folder / "keys.toml").write_text("\n".join(lines))
    return keys


def server(program, folder, store):
    """The program without rules."""
    rules = folder / "rules.toml"
    rules.write_text("")
    arguments = ["--keys", folder / "keys.toml", "--rules", rules]
    if store:
        arguments += ["--store", folder / store]
    return running(program, *arguments)


def meant(schemas, value):
    """The names of the schemas that a part of a document means."""
    names = set(meant_directly(value))
    for _ in schemas:
        names |= {one for name in names for one in meant_directly(schemas[name])}
    return names


def meant_directly(value):
    return re.findall(r"#/components/schemas/([^\"]+)", json.dumps(value))


def closed(document):
    """The document, in which an answer has no field that is not said."""
    schemas = document["components"]["schemas"]
    operations = [one for item in document["paths"].values() for one in item.values()]
    sent = meant(schemas, [one.get("requestBody") for one in operations])
    # What others are made of is closed where they are whole.
    parts = {
        part["$ref"].rsplit("/", 1)[1]
        for schema in schemas.values()
        for part in schema.get("allOf", [])
        if "$ref" in part
    }
    for name, schema in schemas.items():
        is_open = "additionalProperties" in schema or name in parts or name in sent
        if not is_open and ("properties" in schema or "allOf" in schema):
            schema["unevaluatedProperties"] = False
    return document


def try_all(url, key, document, folder, *options):
    """Sends what a document says may be sent, and what it does not."""
    path = folder / "document.json"
    path.write_text(json.dumps(document))
    subprocess.run(
        [TOOLS / "schemathesis", "run", path, "--url", url, "--checks", CHECKS]
        + ["--header", f"Authorization: Bearer {key}", "--seed", "1", "--max-examples", "10"]
        + ["--no-shrink", "--continue-on-failure", "--warnings", "off", "--workers", "1"]
        + ["--suppress-health-check", "all", *options],
        check=True,
        cwd=folder,
    )


def try_api(url, key, document, folder, phases):
    """The same of all paths, each with a key that opens it."""
    options = ["--phases", phases]
    try_all(url, key, document, folder, *options, "--exclude-path-regex", "^/client/")
    if any(path.startswith("/client/") for path in document["paths"]):
        token = {"publicMetadata": {"customerId": "acme"}}
        headers = {"Authorization": f"Bearer {key}"}
        token = httpx.post(f"{url}/v1/client-tokens", json=token, headers=headers).json()["token"]
        try_all(url, token, document, folder, *options, "--include-path-regex", "^/client/")


def made(document, name, folder):
    """A client that is made of a document."""
    path, config = folder / f"{name}.json", folder / "config.yaml"
    path.write_text(json.dumps(document))
    # Nobody reads it: it need not be formatted.
    config.write_text("post_hooks: []\n")
    subprocess.run(
        [TOOLS / "openapi-python-client", "generate", "--path", path, "--meta", "none"]
        + ["--config", config, "--output-path", folder / name, "--fail-on-warning"],
        check=True,
        cwd=folder,
        stdout=subprocess.DEVNULL,
    )
    return Made(name)


class Made:
    """A client's functions by the names of their operations, and its models."""

    def __init__(self, name):
        self.name = name
        self.models = importlib.import_module(f"{name}.models")

    def open(self, url, key):
        package = importlib.import_module(self.name)
        self.client = package.AuthenticatedClient(base_url=url, token=key)
        return self

    def call(self, topic, operation, **arguments):
        module = importlib.import_module(f"{self.name}.api.{topic}.{operation}")
        answer = module.sync_detailed(client=self.client, **arguments)
        body = answer.parsed.to_dict() if answer.parsed is not None else None
        # What was read is what was sent.
        said = json.loads(answer.content or "null")
        assert plain(body) == plain(said), (body, said)
        return int(answer.status_code), body

    def body(self, model, fields):
        return getattr(self.models, model).from_dict(fields)


def plain(value):
    """A body in which dates are written in one way."""
    if isinstance(value, dict):
        return {name: plain(part) for name, part in value.items()}
    if isinstance(value, list):
        return [plain(part) for part in value]
    if isinstance(value, str) and value[:2] == "20" and "T" in value:
        return datetime.datetime.fromisoformat(value.replace("Z", "+00:00"))
    return value


NOW = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
MIDNIGHT = NOW.replace(hour=0, minute=0, second=0)
RANGE = {
    "start_date": MIDNIGHT - datetime.timedelta(days=1),
    "end_date": MIDNIGHT + datetime.timedelta(days=2),
}


def totals(events, tokens, **others):
    sums = {"totalEvents": events, "totalTokens": tokens, "totalInputTokens": 0}
    return {**sums, "totalOutputTokens": 0, "totalCostCents": 0, **others}


def summed(points):
    """The events and the tokens of all points together."""
    return tuple(sum(point[name] for point in points) for name in ("totalEvents", "totalTokens"))


def first(client):
    """Worked numbers: 100 tokens a day, events of 60, 30, 20 and 10."""
    quota = {"name": "A day", "metric": "total_tokens", "limitValue": 100, "period": "day"}
    status, quota = client.call("quotas", "create_quota", body=client.body("NewQuota", quota))
    assert status == 201 and quota["id"] == "qta_a_day", quota

    def track(tokens, model, key):
        event = {"customerId": "acme", "eventType": "call", "model": model, "totalTokens": tokens}
        body = client.body("Event", {**event, "idempotencyKey": key})
        status, answer = client.call("events", "track_usage", body=body)
        (quota,) = answer["quotas"]
        return status, quota["used"], quota["remaining"], answer.get("id")

    status, used, left, event_id = track(60, "gpt-4", "a")
    assert (status, used, left) == (201, 60, 40)
    assert track(30, "gpt-4", "b")[:3] == (201, 90, 10)
    assert track(20, "gpt-4", "c") == (429, 90, 10, None)
    assert track(10, "o3", "d")[:3] == (201, 100, 0)
    assert track(60, "gpt-4", "a") == (201, 60, 40, event_id)
    asked = client.body("Dimensions", {"customer_id": "acme"})
    status, checked = client.call("quotas", "check_quotas", body=asked)
    assert (status, checked["allowed"], checked["quotas"][0]["exceeded"]) == (200, False, True)

    status, summary = client.call("usage", "get_usage_summary", **RANGE)
    assert (status, summary) == (200, totals(3, 100)), summary
    status, rows = client.call("usage", "get_usage_breakdown", **RANGE, group_by="model")
    known = [totals(2, 90, dimension="gpt-4"), totals(1, 10, dimension="o3")]
    assert sorted(rows["data"], key=lambda row: row["dimension"]) == known, rows
    interval = client.models.GetUsageTimeseriesInterval("day")
    status, points = client.call("usage", "get_usage_timeseries", **RANGE, interval=interval)
    assert len(points["data"]) == 3 and summed(points["data"]) == (3, 100), points
    one = {"customerId": "acme", "eventType": "import", "totalTokens": 7}
    batch = client.body("EventBatch", {"events": [one, one]})
    status, report = client.call("events", "ingest_event_batch", body=batch)
    assert (status, report["count"]) == (201, 2), report
    status, usage = client.call("usage", "get_customer_usage", customer_id="acme", **RANGE)
    assert usage == totals(5, 114, customerId="acme"), usage
    status, problem = client.call("quotas", "get_quota", id="qta_none")
    assert (status, problem["error"]) == (404, "Resource not found"), problem


def second(client):
    """1 000 tokens a month by a meter: 500, then 600 that nobody refuses."""
    meter = {"name": "Tokens", "aggregation": "sum", "field": "values.tokens"}
    status, meter = client.call("meters", "create_meter", body=client.body("NewMeter", meter))
    limit = {"name": "A month", "meterId": meter["id"], "limitValue": 1000, "period": "month"}
    status, limit = client.call("limits", "create_limit", body=client.body("NewLimit", limit))
    assert status == 201, limit

    def check():
        asked = client.body("LimitQuestion", {"customerId": "acme"})
        status, answer = client.call("limits", "check_limits", body=asked)
        (limit,) = [one for one in answer["limits"] if one["meterId"] == meter["id"]]
        return answer["allowed"], limit["used"], limit["remaining"], limit["exceeded"]

    assert check() == (True, 0, 1000, False)
    event = {"customerId": "acme", "eventType": "llm.completion"}
    event |= {"values": {"tokens": 500, "cost_cents": 2.5}, "dimensions": {"model": "gpt-4"}}
    body = client.body("NewEvent", event)
    status, done = client.call("events", "record_event", body=body)
    assert (status, done["recorded"]) == (201, True), done
    assert check() == (True, 500, 500, False)
    events = [{**event, "values": {"tokens": 600}, "dimensions": {}}, {**event, "values": {}}]
    batch = client.body("NewEvents", {"events": events})
    assert client.call("events", "batch_ingest_events", body=batch) == (201, {"count": 2})
    assert check() == (False, 1100, 0, True)

    ranged = {**RANGE, "customer_id": "acme", "event_type": "llm.completion"}
    status, summary = client.call("events", "get_event_summary", **ranged)
    sums = {"tokens": 1100, "cost_cents": 2.5}
    assert (status, summary) == (200, {"totalEvents": 3, "values": sums}), summary
    status, rows = client.call("events", "get_event_breakdown", **ranged, group_by="model")
    by_model = {row["dimension"]: (row["totalEvents"], row["values"]) for row in rows["data"]}
    assert by_model == {"gpt-4": (2, {"tokens": 500, "cost_cents": 2.5}), None: (1, {"tokens": 600})}


def third(client):
    """10 a day: 1 used, 5 reserved of which 2 are used, and 8 that are too many."""
    limit = {"subject": {"kind": "user"}, "amount": 10, "window": "day"}
    status, limit = client.call("limits", "create_limit", body=client.body("NewLimit", limit))
    assert (status, limit["name"]) == (200, "10 units per day for every user"), limit

    def check(**more):
        body = {"subject": {"kind": "user", "id": "u"}, "action": "chat", **more}
        status, decision = client.call("checks", "check", body=client.body("Check", body))
        (limit,) = decision["limits"]
        return decision["allowed"], limit["remaining"], decision

    assert check()[:2] == (True, 9)
    allowed, left, decision = check(cost=5, mode="reserve")
    assert (allowed, left) == (True, 4)
    reservation = {"id": decision["reservation"]["id"], "body": client.body("Commit", {"cost": 2})}
    status, committed = client.call("reservations", "commit_reservation", **reservation)
    assert (status, committed["status"], committed["cost"]) == (200, "committed", 2), committed
    allowed, left, decision = check(cost=8)
    assert (allowed, left, decision["reason"]["limitId"]) == (False, 7, limit["id"]), decision
    status, standing = client.call("usage", "get_standing", subject="user:u")
    assert [one["used"] for one in standing["limits"]] == [3], standing


def engine(client):
    """2 calls an hour of each customer, then 3: made, changed, asked about, tried and previewed."""
    rule = {"name": "Calls", "limitValue": 2, "window": "hour", "per": ["customer_id"]}
    body = client.body("NewRuleType0", {"rateLimit": rule})
    status, made = client.call("rules", "add_rule", body=body)
    assert (status, made["rateLimit"]["id"]) == (201, "rl_calls"), made
    body = client.body("RateLimitChange", {"limitValue": 3})
    status, rule = client.call("rules", "update_rule", id="rl_calls", body=body)
    assert (status, rule["rateLimit"]["limitValue"]) == (200, 3), rule
    event = {"customerId": "acme", "eventType": "call", "model": "m", "totalTokens": 7}
    http = client.client.get_httpx_client()
    statuses = [http.post("/v1/track", json=event).status_code for _ in range(4)]
    assert statuses == [201, 201, 201, 429], statuses

    body = client.body("UsageQuestion", {"groupBy": "customer_id"})
    status, usage = client.call("usage", "ask_usage", body=body)
    assert usage["data"] == [totals(3, 21, dimension="acme")], usage
    status, page = client.call("usage", "list_refusals")
    refused = {"ruleId": "rl_calls", "key": {"customer_id": "acme"}, "refused": 1}
    assert (page["items"], page["total"]) == ([refused], 1), page
    status, answer = client.call("questions", "explain", body=client.body("Event", event))
    (explained,) = answer["rules"]
    assert not answer["decision"]["allowed"] and explained["outcome"] == "applies", answer
    other = {"rules": {"rateLimits": [{**rule["rateLimit"], "limitValue": 1}]}}
    status, report = client.call("questions", "simulate", body=client.body("Simulation", other))
    assert (report["calls"]["calls"], report["calls"]["newlyRefused"]) == (3, 2), report
    body = client.body("Sync", {**other, "preview": True})
    status, report = client.call("rules", "sync_rules", body=body)
    (change,) = report["updated"]
    assert change["fields"] == {"limitValue": {"from": 3, "to": 1}}, report


def main(program):
    program = str(pathlib.Path(program).resolve())
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        sys.path.insert(0, str(folder))
        keys = new_keys(program, folder)
        for generation, use in {1: first, 2: second, 3: third}.items():
            client = None
            for store in (f"store_{generation}.redb", None):
                print(f"generation {generation}, store: {store}", flush=True)
                with server(program, folder, store) as url:
                    document = httpx.get(f"{url}/openapi/{generation}.json").json()
                    client = client or made(document, f"client_{generation}", folder)
                    use(client.open(url, keys[generation]))
                    # The edges of every field are tried once.
                    phases = "examples,fuzzing,stateful" + ("" if store else ",coverage")
                    try_api(url, keys[generation], closed(document), folder, phases)
        print("the engine's own API", flush=True)
        with server(program, folder, "store_engine.redb") as url:
            document = httpx.get(f"{url}/openapi/engine.json").json()
            engine(made(document, "client_engine", folder).open(url, keys[1]))
            try_api(url, keys[1], closed(document), folder, "examples,fuzzing,stateful")
    print("all said, and nothing else")


if __name__ == "__main__":
    main(sys.argv[1])
