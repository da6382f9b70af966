import type { MysqlServer, Servers } from "../../../docker/servers.ts";
import type { Side } from "./ledger.ts";

/** Two servers that a test may stop, with ids that never meet. Of names that no variable of the environment can give. */
export async function twoOwnServers(all: Servers, name: string): Promise<Record<Side, MysqlServer>> {
  const start = (side: string, offset: number) =>
    all.mysql({
      name: `${name}-${side}`,
      flags: ["--auto-increment-increment=2", `--auto-increment-offset=${offset}`],
    });
  const [a, b] = await Promise.all([start("one", 1), start("two", 2)]);
  return { a, b };
}
