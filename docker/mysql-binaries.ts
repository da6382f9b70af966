import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { cached, type Log } from "./cache.ts";
import { lastLines, onPath, runCommand } from "./command.ts";
import { unpackDebian } from "./debian-packages.ts";
import { ServerUnavailable } from "./server-unavailable.ts";

/** How a program of a MySQL installation is run: the loader of a foreign root comes first where there is one. */
export type Program = { readonly command: string; readonly args: readonly string[] };

export type MysqlBinaries = {
  readonly version: string;
  readonly origin: string;
  readonly mysqld: Program;
  readonly tool: (name: "mysql" | "mysqldump") => Program;
};

const WAYS =
  "give DRAY_TEST_MYSQL_URL_A and _B, put MySQL 8.0 or later on the PATH, start a container engine, or have root once on a Linux with apt-get";

/** MySQL's answer to --version, or null where it is another product (MariaDB's server has the same name) or too old. */
export function mysqlVersion(answer: string): string | null {
  if (/mariadb/i.test(answer)) return null;
  const found = /\bVer (\d+)\.(\d+)\.(\d+)/.exec(answer);
  return found !== null && Number(found[1]) >= 8 ? `${found[1]}.${found[2]}.${found[3]}` : null;
}

export async function mysqlOnPath(log: Log): Promise<MysqlBinaries | null> {
  const command = onPath("mysqld");
  if (command === null) return null;
  const { output } = await runCommand({ command, args: ["--no-defaults", "--version"], timeoutMs: 20_000 });
  const version = mysqlVersion(output);
  if (version === null) {
    log(`${command} is not MySQL 8.0 or later (${lastLines(output, 1)}): not used`);
    return null;
  }
  return {
    version,
    origin: command,
    mysqld: { command, args: ["--no-defaults"] },
    tool: (name) => ({ command: name, args: [] }),
  };
}

/** Debian's own packages, unpacked into the cache; run from there by their own loader, so no chroot and no root. */
export async function mysqlFromPackages(log: Log): Promise<MysqlBinaries> {
  const folder = await cached({ name: "mysql-9.7", log, build: (target) => unpack(target, log) });
  const loader = [
    ...filesMatching(join(folder, "usr/lib64"), /^ld-linux.*\.so\.\d$/),
    ...filesMatching(join(folder, "usr/lib"), /^ld-linux.*\.so\.\d$/),
  ][0];
  const libraries = filesMatching(join(folder, "usr/lib"), /-linux-gnu$/);
  if (loader === undefined || libraries.length === 0) {
    throw new ServerUnavailable(
      `MySQL: ${folder} is not a whole installation; remove that folder and run again, or ${WAYS}`,
    );
  }
  const program = (path: string, args: readonly string[]): Program => ({
    command: loader,
    args: ["--library-path", libraries.join(":"), join(folder, path), ...args],
  });
  const mysqld = program("usr/sbin/mysqld", [
    "--no-defaults",
    `--basedir=${folder}/usr`,
    `--lc-messages-dir=${folder}/usr/share/mysql`,
    `--character-sets-dir=${folder}/usr/share/mysql/charsets`,
    `--plugin-dir=${folder}/usr/lib/mysql/plugin`,
  ]);
  const { output } = await runCommand({
    command: mysqld.command,
    args: [...mysqld.args, "--version"],
    timeoutMs: 20_000,
  });
  const version = mysqlVersion(output);
  if (version === null)
    throw new ServerUnavailable(`MySQL: the one in ${folder} does not run (${lastLines(output, 1)}); ${WAYS}`);
  return { version, origin: folder, mysqld, tool: (name) => program(`usr/bin/${name}`, ["--no-defaults"]) };
}

async function unpack(target: string, log: Log): Promise<void> {
  log("MySQL: downloading Debian's mysql-server-core, about 560 MB unpacked, once");
  const problem = await unpackDebian({
    packages: ["mysql-server-core", "mysql-client-core"],
    target,
    log: (line) => log(`MySQL: ${line}`),
  });
  if (problem !== null) throw new ServerUnavailable(`MySQL: none here, and ${problem}; ${WAYS}`);
}

function filesMatching(folder: string, pattern: RegExp): string[] {
  return existsSync(folder)
    ? readdirSync(folder)
        .filter((name) => pattern.test(name))
        .map((name) => join(folder, name))
    : [];
}
