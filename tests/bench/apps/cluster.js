// Node's own cluster module, as its documentation has it: the primary forks a worker for each CPU, forks
// anew when one exits, and at SIGUSR2 replaces them one after the other.
const cluster = require("node:cluster");

function restart(workers) {
  const worker = workers.shift();
  if (!worker) return;
  worker.once("exit", () => {
    // The replacement is forked by the handler below; go on when it listens.
    cluster.once("listening", () => restart(workers));
  });
  worker.disconnect();
}

if (cluster.isPrimary) {
  for (let number = 0; number < Number(process.env.WORKERS); number++) cluster.fork();
  cluster.on("exit", () => cluster.fork());
  process.on("SIGUSR2", () => restart(Object.values(cluster.workers)));
  process.on("SIGTERM", () => process.exit(0));
} else {
  const { start } = require("./work.js");
  start(() => {});
}
