import { createHash } from "node:crypto";
import { cpSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { cached, type Log } from "./cache.ts";
import { lastLines, onPath, runCommand } from "./command.ts";
import type { MysqlBinaries } from "./mysql-binaries.ts";

/** Flags that the data folder is made with; a server refuses to start on a folder made with others. */
const INIT_FLAGS =
  /^--(lower[-_]case[-_]table[-_]names|innodb[-_](page[-_]size|data[-_]file[-_]path|undo[-_]tablespaces))=/;

/**
 * A new data folder at `target`. Initializing takes seconds, so it is done once per version and flags, and copied. root
 * may come from anywhere without a password: the servers listen on 127.0.0.1 only.
 */
export async function newDataFolder(options: {
  readonly binaries: MysqlBinaries;
  readonly flags: readonly string[];
  readonly target: string;
  readonly log: Log;
}): Promise<void> {
  const { binaries, target, log } = options;
  const flags = options.flags.filter((flag) => INIT_FLAGS.test(flag));
  const key = createHash("sha256")
    .update(JSON.stringify([binaries.origin, binaries.version, flags]))
    .digest("hex")
    .slice(0, 12);
  const template = await cached({
    name: `mysql-data-${binaries.version}-${key}`,
    log,
    build: async (folder) => {
      log(`MySQL ${binaries.version}: making an empty data folder`);
      await initialize({ binaries, flags, folder });
    },
  });
  const copy =
    onPath("cp") === null
      ? null
      : await runCommand({ command: "cp", args: ["-a", "--reflink=auto", template, target] });
  if (copy?.code !== 0) cpSync(template, target, { recursive: true });
}

async function initialize(options: {
  readonly binaries: MysqlBinaries;
  readonly flags: readonly string[];
  readonly folder: string;
}): Promise<void> {
  const { binaries, flags, folder } = options;
  const sql = `${folder}.sql`;
  writeFileSync(sql, "CREATE USER root@'%';\nGRANT ALL ON *.* TO root@'%' WITH GRANT OPTION;\n");
  try {
    const { code, output } = await runCommand({
      command: binaries.mysqld.command,
      args: [
        ...binaries.mysqld.args,
        ...runAs(),
        "--initialize-insecure",
        `--datadir=${folder}`,
        `--init-file=${sql}`,
        "--innodb-redo-log-capacity=8M",
        "--mysqlx=OFF",
        ...flags,
      ],
    });
    if (code !== 0) throw new Error(`mysqld --initialize-insecure failed: ${lastLines(output, 4)}`);
  } finally {
    rmSync(sql, { force: true });
  }
  // Each copy is a server of its own.
  rmSync(join(folder, "auto.cnf"), { force: true });
}

/** mysqld refuses to run as root unless told so. */
export function runAs(): readonly string[] {
  return process.getuid?.() === 0 ? ["--user=root"] : [];
}
