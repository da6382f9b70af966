// Holds one server until it is killed. Its first line on stdout says what it owns.
import { openServers } from "../../docker/servers.ts";

const servers = await openServers();
const server = await servers.mysql({ name: "held" });
console.log(JSON.stringify({ pid: server.pid, port: server.port, dataDir: server.dataDir }));
setInterval(() => {}, 60_000);
