"""Applications of the cluster API that tests deploy."""

# Answers questions about messages, and does what a test asks for by its path and query.
TALKER = """
import asyncio, json, os
from urllib.parse import parse_qs
from svc import cluster

received = []
sent = 0

@cluster.on_message
async def take(message):
    received.append([message.sender, message.data])
    if message.data == "pid":
        return os.getpid()
    if message.data == "hang":
        await asyncio.Event().wait()
    if message.data == "exit":
        os._exit(3)
    if message.data == "fail":
        raise ValueError("as asked")
    return len(received)

def shown(worker):
    return [worker.slot, worker.pid, worker.state, worker.generation, worker.in_flight]

async def do(path, query):
    global sent
    if query.get("of", str(cluster.worker.slot)) != str(cluster.worker.slot):
        return "not me"
    slot = query.get("to", "0")
    slot = slot if slot == "surge" else int(slot)
    data = json.loads(query.get("data", "null"))
    timeout = float(query.get("timeout", "5"))
    if path == "/who":
        return [cluster.worker.slot, cluster.worker.generation, os.getpid()]
    if path == "/workers":
        return [shown(worker) for worker in cluster.workers()]
    if path == "/received":
        return received
    if path == "/send":
        for number in range(int(query.get("times", "1"))):
            await cluster.send(slot, data if "times" not in query else number, timeout=timeout)
            sent += 1
        return "sent"
    if path == "/broadcast":
        await cluster.broadcast(data, include_self=query.get("self") != "no", timeout=timeout)
        return "sent"
    if path == "/large":
        await cluster.send(slot, "x" * int(query["size"]))
        return "sent"
    if path == "/request":
        return await cluster.request(slot, data, timeout=timeout)
    if path == "/owner":
        return cluster.owner(query["key"])
    if path == "/sent":
        return sent
    if path == "/refused":
        return next(one.refused for one in cluster.workers() if one.slot == cluster.worker.slot)

async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    query = {key: values[0] for key, values in parse_qs(scope["query_string"].decode()).items()}
    try:
        answer = await do(scope["path"], query)
    except Exception as error:
        answer = {"error": type(error).__name__, "text": str(error)}
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": json.dumps(answer).encode()})
"""

# Asks for the cluster API only when a request wants it.
LATE = """
import json, os, sys

SLOT, SLOTS = int(os.environ["SVC_SLOT"]), int(os.environ["SVC_WORKERS"])

async def do(path):
    if path == "/joined":
        return "svc.cluster.member" in sys.modules
    from svc import cluster
    following = (SLOT + 1) % SLOTS
    await cluster.send(following, "hello")
    return following

async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    answer = [SLOT, await do(scope["path"])]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": json.dumps(answer).encode()})
"""

# Each worker sends numbers to each, goes on where its predecessor was, and writes down what it receives: a
# record a message, in one write, so that a kill leaves whole records.
NUMBERS = """
import asyncio, mmap, os, random, struct
from svc import cluster

COUNT, SLOTS = int(os.environ["COUNT"]), int(os.environ["SVC_WORKERS"])
FOLDER = os.environ["RUNTIME_DIRECTORY"]
RECORD = struct.Struct("<IIII")  # sender, incarnation, number, one more than the receiver
ME = cluster.worker.slot
incarnation = random.getrandbits(32)
log = os.open(f"{FOLDER}/received-{ME}", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
progress = os.open(f"{FOLDER}/progress-{ME}", os.O_RDWR | os.O_CREAT, 0o600)
os.ftruncate(progress, 4096)
following = memoryview(mmap.mmap(progress, 4096)).cast("Q")

@cluster.on_message
def take(message):
    if message.data == "flush":
        return True
    os.write(log, message.data)

async def send(slot):
    for number in range(following[slot], COUNT):
        await cluster.send(slot, RECORD.pack(ME, incarnation, number, slot + 1), timeout=60)
        following[slot] = number + 1
        if number % 64 == 0:
            await asyncio.sleep(0)

async def send_all():
    await asyncio.gather(*(send(slot) for slot in range(SLOTS)))
    print(f"worker {ME} has sent all", flush=True)

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        if ME != "surge":
            task = asyncio.create_task(send_all())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
    elif scope["type"] == "http":
        done = [await cluster.request(slot, "flush", timeout=60) for slot in range(SLOTS)]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": str(len(done)).encode()})
"""

# The users of a service, counted by one worker for all: once a period, each query a line of the journal.
USERS = """
import os, time
from svc import cluster

users = 0

@cluster.on_message
async def newest(message):
    global users
    if message.data == "newest":
        return users
    users = message.data["users"]

@cluster.every({period})
async def refresh():
    stamp = time.monotonic()
    print(f"query at {{stamp:.3f}} by {{cluster.worker.slot}}", flush=True)
    await cluster.broadcast({{"users": int(stamp * 1000)}})

async def app(scope, receive, send):
    global users
    if scope["type"] == "lifespan":
        await receive()
        for worker in cluster.workers():
            if worker.slot != cluster.worker.slot and worker.state == "ready":
                users = max(users, await cluster.request(worker.slot, "newest"))
        await send({{"type": "lifespan.startup.complete"}})
        await receive()
        await send({{"type": "lifespan.shutdown.complete"}})
    elif scope["type"] == "http":
        await send({{"type": "http.response.start", "status": 200, "headers": []}})
        await send({{"type": "http.response.body", "body": f"{{cluster.worker.slot}} {{users}}".encode()}})
"""

# A WSGI application: workers ask each other while they serve a request.
PLAIN = """
import json, os
from urllib.parse import parse_qs
from svc.cluster import blocking as cluster

received = []

@cluster.on_message
def take(message):
    received.append(message.data)
    if message.data == "ask back":
        return [cluster.worker.slot, cluster.request(message.sender, "who")]
    return cluster.worker.slot

@cluster.every(0.2)
def job():
    print("job done by", cluster.worker.slot, flush=True)

def app(environ, start_response):
    query = {key: values[0] for key, values in parse_qs(environ["QUERY_STRING"]).items()}
    path = environ["PATH_INFO"]
    if path == "/ask":
        answer = [cluster.worker.slot, cluster.request(int(query["to"]), "ask back", timeout=10)]
    elif path == "/all":
        cluster.broadcast("all")
        answer = [cluster.request(slot, "who") for slot in range(len(cluster.workers()))]
    else:
        with cluster.lock("it"):
            answer = received
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(answer).encode()]
"""

# A Node worker among workers: its listener and its queue by name, messages as lines of JSON.
NODE = """
const http = require("node:http");
const { spawn } = require("node:child_process");
const names = process.env.LISTEN_FDNAMES.split(":");
const fd = (name) => 3 + names.indexOf(name);

const stdio = ["pipe", "pipe", "inherit", fd("bus")];
const bus = spawn("/usr/bin/python3", ["-P", "-m", "svc.cluster.pipe"], { stdio });
const say = (words) => bus.stdin.write(JSON.stringify(words) + "\\n");
const waiting = new Map();
const received = [];
let count = 0;

function told(words) {
  if (words.from === undefined) return waiting.get(words.tag)(words);
  received.push(words.data);
  if (words.tag) say({ tag: words.tag, data: `${words.data} from ${process.env.SVC_SLOT}` });
}

let rest = "";
bus.stdout.on("data", (data) => {
  const lines = (rest + data).split("\\n");
  rest = lines.pop();
  lines.forEach((line) => told(JSON.parse(line)));
});

http.createServer((request, response) => {
  const [, what, to] = request.url.split("/");
  if (what === "received") return response.end(JSON.stringify(received));
  if (what === "all") { say({ to: "all", data: { hello: "wörld" } }); return response.end("sent"); }
  const tag = String(count++);
  waiting.set(tag, (words) => response.end(JSON.stringify(words)));
  say({ ask: Number(to), data: "greetings", tag });
}).listen({ fd: fd("http") });
process.on("SIGTERM", () => process.exit(0));
"""
