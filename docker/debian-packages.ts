import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { aptInstall } from "./apt.ts";
import type { Log } from "./cache.ts";
import { type CommandResult, lastLines, onPath, runCommand } from "./command.ts";

export type Unpacking = {
  readonly packages: readonly string[];
  /** An empty folder; afterwards the root of a small Debian system that holds the packages. */
  readonly target: string;
  readonly log: Log;
};

/** Unpacks packages of Debian's newest suite with all that they need. Resolves with the reason where it cannot. */
export async function unpackDebian(options: Unpacking): Promise<string | null> {
  if (process.platform !== "linux") return "Debian's packages run on Linux only";
  return process.getuid?.() === 0 ? await byDebootstrap(options) : await byApt(options);
}

async function byDebootstrap({ packages, target, log }: Unpacking): Promise<string | null> {
  if (onPath("debootstrap") === null) {
    const problem = await aptInstall(["debootstrap", "debian-archive-keyring"], log);
    if (problem !== null) return `debootstrap is missing and ${problem}`;
  }
  let lines = 0;
  const result = await runCommand({
    command: "debootstrap",
    args: ["--variant=minbase", `--include=${packages.join(",")}`, "sid", target],
    env: { ...process.env, PATH: `${process.env["PATH"]}${delimiter}/usr/sbin${delimiter}/sbin`, LC_ALL: "C" },
    onLine: (line) => {
      lines += 1;
      if (lines % 40 === 0) log(`${line.replace(/^I: /, "")} (step ${lines})`);
    },
  });
  return failure("debootstrap", result);
}

/** Without root: apt-get with all of its state in a folder of ours, on a Debian that has its own mirror and keys. */
async function byApt({ packages, target, log }: Unpacking): Promise<string | null> {
  const keys = "/usr/share/keyrings/debian-archive-keyring.gpg";
  const mirror = debianMirror();
  if (onPath("apt-get") === null || onPath("dpkg-deb") === null || mirror === null || !existsSync(keys)) {
    return "unpacking Debian's packages takes root, or a Debian";
  }
  const work = join(target, ".apt");
  const archives = join(work, "cache", "archives");
  for (const folder of [join(work, "state", "lists", "partial"), join(archives, "partial")])
    mkdirSync(folder, { recursive: true });
  writeFileSync(join(work, "status"), "");
  writeFileSync(join(work, "sources.list"), `deb [signed-by=${keys}] ${mirror} sid main\n`);
  const settings = [
    `Dir::State=${work}/state`,
    `Dir::State::status=${work}/status`,
    `Dir::Cache=${work}/cache`,
    `Dir::Etc::SourceList=${work}/sources.list`,
    "Dir::Etc::SourceParts=/dev/null",
    "Dir::Etc::PreferencesParts=/dev/null",
    "APT::Install-Recommends=false",
  ].flatMap((setting) => ["-o", setting]);
  const apt = (...args: string[]) => runCommand({ command: "apt-get", args: [...settings, "-q", ...args] });
  log(`downloading ${packages.join(", ")} and what they need from ${mirror}`);
  const problem =
    failure("apt-get", await apt("update")) ??
    failure("apt-get", await apt("install", "-y", "--download-only", ...packages));
  if (problem !== null) return problem;
  const files = readdirSync(archives).filter((name) => name.endsWith(".deb"));
  log(`unpacking ${files.length} packages`);
  for (const file of files) {
    const unpacked = failure(
      `dpkg-deb ${file}`,
      await runCommand({ command: "dpkg-deb", args: ["-x", join(archives, file), target] }),
    );
    if (unpacked !== null) return unpacked;
  }
  rmSync(work, { recursive: true, force: true });
  return null;
}

function debianMirror(): string | null {
  const folder = "/etc/apt/sources.list.d";
  const lists = existsSync(folder) ? readdirSync(folder).map((name) => join(folder, name)) : [];
  for (const list of ["/etc/apt/sources.list", ...lists]) {
    const text = existsSync(list) ? readFileSync(list, "utf8") : "";
    const found = /^(?:URIs:|deb\s(?:\[[^\]]*\]\s)?)\s*(\S+\/debian)\/?(?:\s|$)/m.exec(text);
    if (found?.[1] !== undefined) return found[1];
  }
  return null;
}

function failure(what: string, { code, output }: CommandResult): string | null {
  return code === 0 ? null : `${what} failed (${lastLines(output, 2)})`;
}
