"""One cluster on several hosts, by way of a Redis or Valkey server ([cluster] url).

Within a host everything stays as it is: the kernel carries messages and frees locks. The server carries what
goes from host to host. `server` is the connection, `lease` a lock that runs out unless it is renewed,
`keeper` the thread that renews, `store` the cache, `turns` the beginnings of jobs, `stream` the broadcasts.

Everything of an app has a key that begins with `svc:APP:`. redis-py is imported when a url is configured.
"""
