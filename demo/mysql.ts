import { type Connection, createConnection } from "mysql2/promise";

/** Where a server is. `password` may be empty: the demo's own servers listen on the loopback only. */
export interface ServerAddress {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
  readonly schema: string;
}

/**
 * A plain session of the demo: UTC, utf8mb4, every value as the text the server prints. JSON comes with the binary
 * character set on the wire, hence the explicit utf8.
 */
export async function connect(
  address: ServerAddress,
  options: { readonly inSchema: "yes" | "not yet" } = { inSchema: "yes" },
): Promise<Connection> {
  const connection = await createConnection({
    host: address.host,
    port: address.port,
    user: address.user,
    password: address.password,
    ...(options.inSchema === "yes" ? { database: address.schema } : {}),
    charset: "utf8mb4",
    timezone: "Z",
    typeCast: (field) => field.string("utf8"),
    rowsAsArray: true,
  });
  await connection.query("SET time_zone = '+00:00', sql_mode = 'STRICT_ALL_TABLES'");
  return connection;
}
