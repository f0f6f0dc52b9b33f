// The part "cluster" for Node's own cluster: the primary sends to each worker in turn, who note when they have each
// message. `node bus.js WORKERS COUNT PAUSE-IN-MS` prints times of CLOCK_MONOTONIC in nanoseconds.
const cluster = require("node:cluster");

const [workers, count, pause] = process.argv.slice(2).map(Number);
const BYTES = 100;
const BATCH = 100; // then the workers' pipes are waited for, else the primary's memory would be the queue

async function measure() {
  const all = Object.values(cluster.workers);
  const sent = [];
  for (let number = 0; number < count; number++) {
    const text = String(number).padStart(BYTES, "0");
    sent.push(process.hrtime.bigint());
    if (!pause && number % BATCH === BATCH - 1) {
      await Promise.all(all.map((worker) => new Promise((resolve) => worker.send(text, resolve))));
    } else {
      for (const worker of all) worker.send(text);
    }
    if (pause) await new Promise((resolve) => setTimeout(resolve, pause));
  }
  const received = all.map((worker) => new Promise((resolve) => worker.once("message", resolve)));
  for (const worker of all) worker.send("");
  return { sent: sent.map(String).map(Number), received: await Promise.all(received) };
}

if (cluster.isPrimary) {
  let ready = 0;
  for (let number = 0; number < workers; number++) {
    cluster.fork().once("message", async () => {
      if (++ready < workers) return;
      process.stdout.write(JSON.stringify(await measure()), () => process.exit(0));
    });
  }
} else {
  const received = [];
  process.on("message", (text) => {
    if (text) received.push(Number(process.hrtime.bigint()));
    else process.send(received);
  });
  process.send("ready");
}
