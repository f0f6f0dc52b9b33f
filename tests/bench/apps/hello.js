// The smallest application on Node's own server.
const http = require("node:http");

const body = "hello, world\n";
const headers = { "content-type": "text/plain", "content-length": body.length };
const server = http.createServer((request, response) => {
  response.writeHead(200, headers);
  response.end(body);
});
server.listen({ host: "127.0.0.1", port: Number(process.env.PORT), backlog: 2048 });
