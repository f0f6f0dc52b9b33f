"""Applications of the cache that tests deploy."""

# Does what a test asks for by its path and query: the answers are [slot, value], or what was raised.
ASKED = """
import asyncio, json, os
from urllib.parse import parse_qs
from svc import cluster

cache = cluster.cache
ME = cluster.worker.slot

async def slowly():
    print(f"worker {ME} computes", flush=True)
    while not cache.get("go on"):
        await asyncio.sleep(0.01)
    return f"by {ME}"

async def do(path, query):
    key, value = query.get("key", "key"), json.loads(query.get("value", "null"))
    ttl = json.loads(query.get("ttl", "null"))
    match path:
        case "/set":
            return cache.set(key, value, ttl=ttl)
        case "/get":
            return cache.get(key)
        case "/add":
            return cache.add(key, value)
        case "/cas":
            return cache.cas(key, json.loads(query["expected"]), value)
        case "/incr":
            return cache.incr(key)
        case "/delete":
            return cache.delete(key)
        case "/compute":
            return await cache.get_or_compute(key, slowly)
        case "/fill":
            for number in range(3000):
                cache.set(f"{key} {number}", "x" * 1000)
            return [number for number in range(3000) if cache.get(f"{key} {number}")]

async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    query = {key: values[0] for key, values in parse_qs(scope["query_string"].decode()).items()}
    try:
        answer = [ME, await do(scope["path"], query)]
    except Exception as error:
        answer = {"error": type(error).__name__, "text": str(error)}
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": json.dumps(answer).encode()})
"""

# Every worker writes as fast as it can, values that show when half of one is of another, and reads those
# of the others; "wrong" is said if ever one is not whole. The answer: how many writes all have counted.
WRITERS = """
import os, threading
from svc.cluster import blocking as cluster

cache = cluster.cache

def value(number):
    return {"number": number, "text": f"{number:08d}" * (1 + number % 800), "again": number}

def write():
    for number in range(1 << 60):
        cache.set(f"key {number % 50}", value(number))
        cache.incr("written")
        found = cache.get(f"key {number * 7 % 50}")
        if found is not None and found != value(found["number"]):
            print("wrong:", found, flush=True)
        if number % 9 == 0:
            cache.delete(f"key {number * 3 % 50}")

thread = None

def app(environ, start_response):
    global thread
    if thread is None:
        thread = threading.Thread(target=write, daemon=True)
        thread.start()
    answer = f"{cluster.worker.slot} {cache.get('written', 0)}".encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(answer)))])
    return [answer]
"""

# The users of a service: the database is asked when there is no count that is young enough, by one worker
# for all; each query is a line of the journal.
USERS = """
import asyncio, json, time
from svc import cluster

async def count_users():
    began = time.monotonic()
    await asyncio.sleep(0.05)  # the database
    print(f"query at {{began:.3f}} by {{cluster.worker.slot}}", flush=True)
    return began

async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    asked = time.monotonic()
    users = await cluster.cache.get_or_compute("users", count_users, ttl={period})
    answer = json.dumps([cluster.worker.slot, asked, users]).encode()
    await send({{"type": "http.response.start", "status": 200, "headers": []}})
    await send({{"type": "http.response.body", "body": answer}})
"""
