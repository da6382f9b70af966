import { spawn } from "node:child_process";
import type { ServerAddress } from "../demo/mysql.ts";
import type { Servers } from "../docker/servers.ts";
import { SCHEMA } from "./schema.ts";

/** `mysqldump | mysql` with their own defaults, which is what a mover is compared with. Returns its seconds. */
export async function dumpAndLoad(options: {
  readonly servers: Servers;
  readonly source: ServerAddress;
  readonly target: ServerAddress;
}): Promise<number> {
  const { servers, source, target } = options;
  const [from, to] = [await servers.mysqlTool("mysqldump"), await servers.mysqlTool("mysql")];
  const dump = [from.command, ...from.args, ...where(source), "--single-transaction", "--set-gtid-purged=OFF", SCHEMA];
  const load = [to.command, ...to.args, ...where(target), SCHEMA];
  const begin = performance.now();
  // A shell joins the two, so that the bytes do not pass through this process.
  const child = spawn("sh", ["-c", `${quoted(dump)} | ${quoted(load)}`], { stdio: ["ignore", "ignore", "pipe"] });
  let complaints = "";
  child.stderr.setEncoding("utf8").on("data", (part: string) => {
    complaints += part;
  });
  const code = await new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", resolve);
  });
  const seconds = (performance.now() - begin) / 1000;
  // A shell's pipe has the exit code of its last program only.
  if (code !== 0 || /error/i.test(complaints)) throw new Error(`mysqldump | mysql ended with ${code}: ${complaints}`);
  return seconds;
}

function where({ host, port, user }: ServerAddress): string[] {
  return [`--host=${host}`, `--port=${port}`, `--user=${user}`, "--protocol=TCP"];
}

function quoted(words: readonly string[]): string {
  return words.map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(" ");
}
