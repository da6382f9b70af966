import { createWriteStream } from "node:fs";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { connect, type ServerAddress } from "./mysql.ts";
import { readTable } from "./row-source.ts";
import { SIDES, type Side, TABLES, type TableName } from "./schema.ts";

/** Where a table's rows as they were before anybody wrote are kept, one JSON line each, by id. */
export function imageFile(folder: string, side: Side, table: TableName): string {
  return join(folder, `image-${side}-${table}.jsonl`);
}

/** Before the application and the product begin: what both sides hold. */
export async function takeImage(options: {
  readonly servers: Readonly<Record<Side, ServerAddress>>;
  readonly folder: string;
}): Promise<void> {
  for (const side of SIDES) {
    const connection = await connect(options.servers[side]);
    try {
      for (const table of TABLES) {
        const lines = async function* (): AsyncGenerator<string> {
          for await (const page of readTable(connection, table)) yield `${page.map((row) => row.text).join("\n")}\n`;
        };
        await pipeline(lines, createWriteStream(imageFile(options.folder, side, table), { flags: "wx" }));
      }
    } finally {
      await connection.end();
    }
  }
}
