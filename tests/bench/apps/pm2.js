// For PM2's cluster mode, with the graceful stop and the readiness that its documentation advises.
const { start } = require("./work.js");

const server = start(() => process.send("ready"));
process.on("SIGINT", () => server().close(() => process.exit(0)));
