"""The PyPI package `limitry` 1.0.0rc7, which nobody here wrote, against the server.

    python tests/clients/limitry_rc7.py target/debug/limitry

Starts the program with a store, lets the client do what its users do, and fails where an answer is
another one than it has to be.
"""

import asyncio
import concurrent.futures
import datetime
import pathlib
import sys
import tempfile

import httpx
from limitry import ApiError, AsyncLimitry, LimitReached, Limitry, Unavailable
from program import new_key, start

NOW = datetime.datetime.now(datetime.timezone.utc)
NEW_YEAR = f"{NOW.year + 1}-01-01T00:00:00Z"


class Server:
    """The program, with a store and a key of the third generation."""

    def __init__(self, program, folder):
        self.program, self.folder = program, folder
        self.key, line = new_key(program, 3)
        assert self.key.startswith("lim_test_"), self.key
        (folder / "keys.toml").write_text(line)
        self.start()

    def start(self):
        keys, store = self.folder / "keys.toml", self.folder / "store.redb"
        self.child, self.url = start(self.program, "--keys", keys, "--store", store)

    def kill(self):
        self.child.kill()
        self.child.wait()

    def client(self, **options):
        return Limitry(self.key, api=self.url, **options)


class Losing(httpx.BaseTransport):
    """Sends what it is given, and loses the next answers on their way back."""

    def __init__(self):
        self.inner = httpx.HTTPTransport()
        self.lose = []
        self.keys = []

    def handle_request(self, request):
        self.keys.append(request.headers.get("idempotency-key"))
        response = self.inner.handle_request(request)
        response.read()
        if self.lose:
            raise self.lose.pop(0)("the answer was lost", request=request)
        return response


def user(name):
    return {"kind": "user", "id": name}


def worker(name):
    return {"kind": "worker", "id": name}


def refused(call, *, status, code):
    """What the API says of a call that it must refuse."""
    try:
        call()
    except ApiError as error:
        assert (error.status, error.code) == (status, code), repr(error)
        assert error.request_id.startswith("req_") and error.message, repr(error)
        return error
    raise AssertionError("it was not refused")


def stands(client, subject):
    """What is used and left of each limit of a subject, by the limit's name."""
    limits = client.standing(subject=subject)["limits"]
    return {one["name"]: (one["used"], one["remaining"]) for one in limits}


def guard(server):
    client = server.client()
    limit = client.limits.create(subject={"kind": "user"}, amount=3, window="year", name="Guarded")
    assert limit["failMode"] == "open" and limit["version"] == 1, limit
    ran = 0
    for cost in (1, 2):
        with client.guard(subject=user("g"), action="call", cost=cost):
            ran += 1
    try:
        with client.guard(subject=user("g"), action="call"):
            ran += 1
        raise AssertionError("it was not refused")
    except LimitReached as why:
        assert (why.reason, why.limit_id) == ("limit_reached", limit["id"]), vars(why)
        left = (datetime.datetime.fromisoformat(NEW_YEAR[:-1] + "+00:00") - NOW).total_seconds()
        assert left - 600 < why.retry_after_seconds <= left + 1, why.retry_after_seconds
        assert why.decision["limits"][0]["resetsAt"] == NEW_YEAR, why.decision
        assert "Guarded" in str(why), why
    assert ran == 2
    assert stands(client, user("g"))["Guarded"] == (3, 0)
    # A pool that is drawn from refuses, too, and nothing is taken then.
    client.limits.create(subject={"kind": "team"}, amount=2, window="year", name="Pool")
    shared = [{"kind": "team", "id": "t"}]
    with client.guard(subject=user("h"), action="call", cost=2, shared=shared):
        pass
    try:
        with client.guard(subject=user("h"), action="call", shared=shared):
            raise AssertionError("it was not refused")
    except LimitReached as why:
        assert why.decision["reason"]["message"].startswith('"Pool"'), why.decision
    assert stands(client, user("h"))["Guarded"] == (2, 1)
    preview = client.checks.create(subject=user("h"), action="call", cost=1, mode="preview")
    assert preview["allowed"] and preview["limits"][0]["remaining"] == 0, preview
    assert stands(client, user("h"))["Guarded"] == (2, 1)


def reserve(server):
    client = server.client()
    client.limits.create(
        subject={"kind": "worker"}, amount=10, window="year", action="work", name="Work"
    )
    client.limits.create(
        subject={"kind": "worker"}, amount=1, window="concurrent", action="work", name="At once"
    )
    with client.reserve(subject=worker("r"), action="work", cost=5) as reservation:
        assert stands(client, worker("r"))["Work"] == (5, 5)
        assert stands(client, worker("r"))["At once"] == (1, 0)
        reservation.extend(600)
        refused(lambda: reservation.extend(0), status=400, code="invalid_request")
        try:
            with client.reserve(subject=worker("r"), action="work"):
                raise AssertionError("it was not refused")
        except LimitReached as why:
            assert why.decision["reason"]["message"].startswith('"At once"'), why.decision
        reservation.cost(2)
    assert stands(client, worker("r"))["Work"] == (2, 8)
    assert stands(client, worker("r"))["At once"] == (0, 1)
    # Work that fails gives all back, work that says nothing costs what was reserved, and what costs
    # more is charged in full.
    try:
        with client.reserve(subject=worker("r"), action="work", cost=5):
            raise KeyError("the work has failed")
    except KeyError:
        pass
    assert stands(client, worker("r"))["Work"] == (2, 8)
    with client.reserve(subject=worker("r"), action="work", cost=3):
        pass
    assert stands(client, worker("r"))["Work"] == (5, 5)
    with client.reserve(subject=worker("r"), action="work", cost=5) as reservation:
        reservation.cost(7)
    assert stands(client, worker("r"))["Work"] == (12, 0)
    # By its id.
    held = client.checks.create(
        subject=worker("s"), action="work", cost=4, mode="reserve", ttl_seconds=60
    )
    held = held["reservation"]
    assert (held["status"], held["reserved"], held["cost"]) == ("held", 4, 0), held
    extended = client.reservations.extend(held["id"])
    assert extended["status"] == "held" and extended["expiresAt"] > held["expiresAt"], extended
    first = client.reservations.commit(held["id"], cost=1)
    assert (first["status"], first["reserved"], first["cost"]) == ("committed", 4, 1), first
    assert client.reservations.commit(held["id"], cost=3) == first
    assert stands(client, worker("s"))["Work"] == (1, 9)
    late = lambda: client.reservations.release(held["id"])
    refused(late, status=409, code="reservation_ended")
    held = client.checks.create(subject=worker("s"), action="work", cost=4, mode="reserve")
    released = client.reservations.release(held["reservation"]["id"])
    assert (released["status"], released["cost"]) == ("released", 0), released
    assert client.reservations.release(held["reservation"]["id"]) == released
    unknown = lambda: client.reservations.commit("res_none", cost=1)
    refused(unknown, status=404, code="not_found")


def limits(server):
    client = server.client()
    made = client.limits.create(
        subject={"kind": "api-key", "id": "k1"}, amount=100, window="month", every=3, unit="cents",
        action="chat", fail_mode="closed",
    )
    assert made["name"] == "100 cents per 3 months for api-key k1 on chat", made
    assert made["subject"] == {"kind": "api-key", "id": "k1"} and made["every"] == 3, made
    assert client.limits.get(made["id"]) == made
    changed = client.limits.update(made["id"], amount=200, name="Cents", action="chat")
    assert (changed["amount"], changed["name"], changed["version"]) == (200, "Cents", 2), changed
    fixed = lambda: client.limits.update(made["id"], window="day")
    assert "window" in refused(fixed, status=400, code="invalid_request").message
    bad = lambda: client.limits.create(subject={"kind": "user"}, amount=-1, window="day")
    assert "amount" in refused(bad, status=400, code="invalid_request").message
    assert client.limits.archive(made["id"]) is None
    assert client.limits.get(made["id"])["archivedAt"] is not None
    archived = client.limits.list(archived="true", subject_kind="api-key")
    assert [one["id"] for one in archived["items"]] == [made["id"]], archived
    assert client.limits.list(subject_kind="api-key") == {"items": [], "nextCursor": None}
    assert client.limits.restore(made["id"])["archivedAt"] is None
    for number in range(5):
        subject = {"kind": "page", "id": str(number)}
        client.limits.create(subject=subject, amount=number, window="day")
    seen, cursor = [], None
    while True:
        more = {"cursor": cursor} if cursor else {}
        page = client.limits.list(limit=2, subject_kind="page", **more)
        seen += [one["amount"] for one in page["items"]]
        cursor = page["nextCursor"]
        if cursor is None:
            break
    assert seen == [4, 3, 2, 1, 0], seen
    assert len(client.limits.list(limit=0)["items"]) == 1
    refused(lambda: client.limits.get("lmt_none"), status=404, code="not_found")


def sync(server):
    client = server.client()

    def entry(name, amount, window="day"):
        return {"name": name, "subject": {"kind": "synced"}, "amount": amount, "window": window}

    first = [entry("s1", 1), entry("s2", 2, "week")]
    done = client.limits.sync(limits=first)
    assert done == {
        "preview": False, "created": ["s1", "s2"], "updated": [], "archived": [], "unchanged": [],
    }, done
    assert client.limits.sync(limits=first)["unchanged"] == ["s1", "s2"]
    others = client.limits.list(limit=100)["items"]
    others = [one["name"] for one in others if one["subject"]["kind"] != "synced"]
    second = [entry("s1", 5), entry("s3", 3, "minute")]
    preview = client.limits.sync(limits=second, archive_missing=True, preview=True)
    assert preview["preview"] and preview["created"] == ["s3"], preview
    change = {"name": "s1", "changes": {"amount": {"from": 1, "to": 5}}}
    assert preview["updated"] == [change], preview
    assert sorted(preview["archived"]) == sorted(others + ["s2"]), preview
    names = [one["name"] for one in client.limits.list(subject_kind="synced")["items"]]
    assert names == ["s2", "s1"], names
    # Of the list as it is nothing is archived.
    done = client.limits.sync(limits=second)
    assert (done["created"], done["updated"], done["archived"]) == (["s3"], [change], []), done
    bad = lambda: client.limits.sync(limits=[entry("s1", 1, "year"), {"name": "s4"}])
    message = refused(bad, status=400, code="invalid_request").message
    assert "limits[1].subject" in message and "limits[1].window" in message, message
    moved = lambda: client.limits.sync(limits=[entry("s1", 1, "year")])
    assert "limits[0].window" in refused(moved, status=400, code="invalid_request").message


def credits(server):
    client = server.client()
    limit = client.limits.create(
        subject={"kind": "wallet"}, amount=100, window="total", name="Wallet"
    )
    wallet = {"kind": "wallet", "id": "w"}

    def left():
        check = client.checks.create(subject=wallet, action="buy", cost=0, mode="preview")
        return check["allowed"], check["limits"][0]["remaining"]

    with client.guard(subject=wallet, action="buy", cost=100):
        pass
    added = client.limits.credits.create(limit["id"], subject=wallet, amount=50, note="promotion")
    assert (added["amount"], added["subject"], added["limitId"]) == (50, wallet, limit["id"]), added
    assert left() == (True, 50)
    try:
        with client.guard(subject=wallet, action="buy", cost=60):
            raise AssertionError("it was not refused")
    except LimitReached as why:
        assert why.retry_after_seconds is None, why.decision
        assert why.decision["limits"][0]["resetsAt"] is None, why.decision
    with client.guard(subject=wallet, action="buy", cost=40):
        pass
    back = lambda: client.limits.credits.create(limit["id"], subject=wallet, amount=-30)
    assert "note" in refused(back, status=400, code="invalid_request").message
    client.limits.credits.create(limit["id"], subject=wallet, amount=-30, note="chargeback")
    # Below zero no more is used, whatever it costs.
    assert left()[1] == -20
    refused_one = client.checks.create(subject=wallet, action="buy", cost=1)
    assert refused_one["allowed"] is False, refused_one
    ledger = client.limits.credits.list(limit["id"])["items"]
    ledger = [(one["amount"], one["note"]) for one in ledger]
    assert ledger == [(-30, "chargeback"), (50, "promotion")], ledger


def usage(server):
    client = server.client()
    limit = client.limits.create(subject={"kind": "reader"}, amount=50, window="year", name="Reads")
    for name, cost in (("a", 2), ("b", 9), ("a", 3)):
        with client.guard(subject={"kind": "reader", "id": name}, action="read", cost=cost):
            pass
    over = client.checks.create(subject={"kind": "reader", "id": "a"}, action="read", cost=46)
    assert over["allowed"] is False, over
    by_subject = client.usage.subjects(limit_id=limit["id"])
    assert by_subject["windowStart"] == f"{NOW.year}-01-01T00:00:00Z", by_subject
    assert by_subject["items"] == [
        {"subject": {"kind": "reader", "id": "b"}, "used": 9, "remaining": 41, "refused": 0},
        {"subject": {"kind": "reader", "id": "a"}, "used": 5, "remaining": 45, "refused": 1},
    ], by_subject
    series = client.usage.query(limit_id=limit["id"])
    assert series["granularity"] == "day" and 30 <= len(series["points"]) <= 32, series
    sums = [sum(one[name] for one in series["points"]) for name in ("used", "allowed", "refused")]
    assert sums == [14, 3, 1], series
    hours = client.usage.query(limit_id=limit["id"], subject="reader:a", granularity="hour")
    assert sum(one["used"] for one in hours["points"]) == 5, hours
    standing = client.usage.standing(subject="reader:a")
    assert standing == client.standing(subject={"kind": "reader", "id": "a"})
    assert standing["environment"] == "proj", standing
    stood = standing["limits"][0]
    assert (stood["used"], stood["remaining"], stood["resetsAt"]) == (5, 45, NEW_YEAR), stood
    assert client.standing(subject={"kind": "nobody", "id": "n"})["limits"] == []


def subjects(server):
    client = server.client()
    client.limits.create(
        subject={"kind": "payer"}, amount=9, window="month", start="billing_date", name="Paid"
    )
    assert client.subjects.get("payer", "p")["billingDate"] is None
    first = f"{NOW.year - 1}-03-31T08:00:00Z"
    assert client.subjects.update("payer", "p", billing_date=first)["billingDate"] == first
    with client.guard(subject={"kind": "payer", "id": "p"}, action="use", cost=4):
        pass
    stood = client.standing(subject={"kind": "payer", "id": "p"})["limits"][0]
    assert (stood["used"], stood["resetsAt"][8:10] in ("28", "29", "30", "31")) == (4, True), stood
    with client.guard(subject={"kind": "payer", "id": "q"}, action="use"):
        pass
    assert client.subjects.get("payer", "q")["billingDate"][:10] in (
        str(NOW.date()), str(NOW.date() + datetime.timedelta(days=1))
    )
    reset = client.subjects.reset("payer", "p")
    assert reset["reset"] == [stood["limitId"]], reset
    assert client.standing(subject={"kind": "payer", "id": "p"})["limits"][0]["used"] == 0


def retries(server):
    transport = Losing()
    client = server.client(http_client=httpx.Client(transport=transport))
    client.limits.create(subject={"kind": "retrier"}, amount=10, window="year", name="Retried")
    who = {"kind": "retrier", "id": "r"}

    def used():
        return client.standing(subject=who)["limits"][0]["used"]

    # The client's own retry, after an answer that did not come back.
    transport.lose, transport.keys = [httpx.ReadError], []
    decision = client.checks.create(subject=who, action="go", cost=3)
    assert decision["allowed"] and decision["limits"][0]["remaining"] == 7, decision
    assert len(transport.keys) == 2 and len(set(transport.keys)) == 1, transport.keys
    assert used() == 3
    transport.lose = [httpx.ReadError]
    with client.guard(subject=who, action="go", cost=2):
        pass
    assert used() == 5
    # The caller's own.
    again = {"idempotency_key": "job-7"}
    first = client.checks.create(subject=who, action="go", cost=1, request_options=again)
    assert client.checks.create(subject=who, action="go", cost=1, request_options=again) == first
    assert used() == 6
    # Many at once are one: who comes while it is decided asks again.
    once = {"idempotency_key": "job-8"}
    clients = [server.client() for _ in range(8)]

    def ask(client):
        return client.checks.create(subject=who, action="go", cost=1, request_options=once)

    with concurrent.futures.ThreadPoolExecutor(len(clients)) as pool:
        decisions = list(pool.map(ask, clients))
    assert all(one == decisions[0] for one in decisions), decisions
    assert used() == 7
    other = lambda: client.checks.create(subject=who, action="go", cost=2, request_options=again)
    refused(other, status=409, code="idempotency_conflict")
    return first


def unheard(server):
    transport = Losing()
    client = server.client(http_client=httpx.Client(transport=transport), max_retries=0)
    client.limits.create(subject={"kind": "caller"}, amount=2, window="concurrent", name="Open")
    who = {"kind": "caller", "id": "c"}

    def opened():
        return client.standing(subject=who)["limits"][0]["used"]

    # The check was decided and not heard of: the work is done, and the reservation given back.
    transport.lose = [httpx.ReadTimeout]
    with client.reserve(subject=who, action="go") as reservation:
        assert opened() == 1
        reservation.cost(5)
    assert opened() == 0
    # A limit that fails closed lets no work be done, and nothing stays reserved.
    transport.lose = [httpx.ReadTimeout]
    try:
        with client.reserve(subject=who, action="go", fail_mode="closed"):
            raise AssertionError("it was not refused")
    except Unavailable:
        pass
    assert opened() == 0


def workspace(server):
    client = server.client()
    assert client.workspace.get() == {"id": "proj", "name": "proj"}
    me = client.user.me()
    assert (me["id"], me["workspaces"]) == ("proj", [{"id": "proj", "name": "proj"}]), me
    month = client.workspace.usage()
    assert month["periodStart"].startswith(f"{NOW.year}-"), month
    assert month["meters"][0]["used"] > 0 and month["meters"][0]["limit"] is None, month
    refused(client.workspace.members.list, status=404, code="not_found")
    wrong = Limitry("lim_test_wrong", api=server.url)
    refused(wrong.workspace.get, status=401, code="unauthorized")
    foreign = server.client(workspace="another")
    refused(foreign.workspace.get, status=403, code="forbidden")
    assert server.client(workspace="proj").workspace.get()["id"] == "proj"


async def in_async(server):
    async with AsyncLimitry(server.key, api=server.url) as client:
        limit = await client.limits.create(subject={"kind": "task"}, amount=20, window="year")
        who = {"kind": "task", "id": "t"}

        async def work(cost):
            async with client.reserve(subject=who, action="go", cost=2) as reservation:
                await reservation.extend(60)
                reservation.cost(cost)

        await asyncio.gather(*(work(cost) for cost in range(1, 6)))
        async with client.guard(subject=who, action="go", cost=5):
            pass
        standing = await client.standing(subject=who)
        assert standing["limits"][0]["limitId"] == limit["id"], standing
        assert (standing["limits"][0]["used"], standing["limits"][0]["remaining"]) == (20, 0)
        try:
            async with client.guard(subject=who, action="go"):
                raise AssertionError("it was not refused")
        except LimitReached as why:
            assert why.limit_id == limit["id"], vars(why)


def restart(server, first):
    """What was answered holds after the server was killed, and the client's key is known."""
    client = server.client()
    client.limits.create(
        subject={"kind": "worker"}, amount=9, window="year", action="safe", fail_mode="closed",
        name="Safe",
    )
    with client.guard(subject=worker("k"), action="safe", cost=4):
        pass
    held = client.checks.create(subject=worker("k"), action="safe", cost=2, mode="reserve")
    before = (stands(client, worker("k")), stands(client, worker("r")))
    server.kill()
    # Nobody answers: what was heard last decides, and what is not known is open.
    try:
        with client.guard(subject=worker("k"), action="safe"):
            raise AssertionError("it was not refused")
    except Unavailable:
        pass
    ran = False
    with client.guard(subject=worker("new"), action="another"):
        ran = True
    assert ran
    server.start()
    client = server.client()
    assert (stands(client, worker("k")), stands(client, worker("r"))) == before
    again = {"idempotency_key": "job-7"}
    who = {"kind": "retrier", "id": "r"}
    assert client.checks.create(subject=who, action="go", cost=1, request_options=again) == first
    client.reservations.commit(held["reservation"]["id"], cost=1)
    assert stands(client, worker("k"))["Safe"] == (5, 4)


def main(program):
    with tempfile.TemporaryDirectory() as folder:
        server = Server(program, pathlib.Path(folder))
        try:
            parts = [guard, reserve, limits, sync, credits, usage, subjects, unheard, workspace]
            for part in parts:
                part(server)
                print(f"{part.__name__}: good")
            first = retries(server)
            print("retries: good")
            asyncio.run(in_async(server))
            print("in_async: good")
            restart(server, first)
            print("restart: good")
        finally:
            server.kill()


if __name__ == "__main__":
    main(sys.argv[1])
