// What PM2's documentation advises for reloads without downtime: readiness, and time to end.
module.exports = {
  apps: [
    {
      name: "bench",
      script: `${__dirname}/pm2.js`,
      instances: Number(process.env.WORKERS),
      exec_mode: "cluster",
      wait_ready: true,
      listen_timeout: 10000,
      kill_timeout: 10000,
    },
  ],
};
