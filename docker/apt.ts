import type { Log } from "./cache.ts";
import { lastLines, onPath, runCommand } from "./command.ts";

/** Installs Debian packages where that is possible here; resolves with the reason where it is not. */
export async function aptInstall(packages: readonly string[], log: Log): Promise<string | null> {
  if (process.getuid?.() !== 0) return "installing packages takes root";
  if (onPath("apt-get") === null) return "there is no apt-get here";
  log(`installing ${packages.join(", ")} by apt-get`);
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  const args = ["install", "-y", "-q", "--no-install-recommends", ...packages];
  let result = await runCommand({ command: "apt-get", args, env });
  if (result.code !== 0) {
    await runCommand({ command: "apt-get", args: ["update", "-q"], env });
    result = await runCommand({ command: "apt-get", args, env });
  }
  return result.code === 0 ? null : `apt-get failed (${lastLines(result.output, 1)})`;
}
