// work.py for Node: answers with its process id, at several speeds.
const fs = require("node:fs");
const http = require("node:http");

const startup = 1000 * Number(process.env.STARTUP || 0);
const crash = 1000 * Number(process.env.CRASH || 0);

function compute() {
  // 5 ms of CPU time.
  const begin = process.cpuUsage();
  for (;;) {
    const used = process.cpuUsage(begin);
    if (used.user + used.system >= 5000) return;
  }
}

function answer(response) {
  const body = `${process.pid}\n`;
  response.writeHead(200, { "content-type": "text/plain", "content-length": body.length });
  response.end(body);
}

function handle(request, response) {
  const path = request.url.split("?")[0];
  if (path === "/slow") setTimeout(answer, 2000, response);
  else if (request.method === "POST") request.on("end", () => answer(response)).resume();
  else {
    if (path === "/work") compute();
    answer(response);
  }
}

// Returns a function that returns the server once it is there.
exports.start = (ready) => {
  let server;
  setTimeout(() => {
    server = http.createServer(handle);
    server.keepAliveTimeout = 75000;
    server.listen({ host: "127.0.0.1", port: Number(process.env.PORT), backlog: 2048 }, ready);
    if (crash) {
      setTimeout(() => {
        if (process.env.CRASHES) fs.appendFileSync(`${process.env.CRASHES}/crashes`, ".");
        process.exit(1);
      }, Math.random() * crash);
    }
  }, startup);
  return () => server;
};
