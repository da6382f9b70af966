import { type Connection, createConnection, type RowDataPacket } from "mysql2/promise";
import type { MysqlServer, Servers } from "../../docker/servers.ts";

/** A server that follows another one by GTIDs, from its first transaction on. */
export class Replica {
  readonly server: MysqlServer;
  readonly admin: Connection;

  private constructor(server: MysqlServer, admin: Connection) {
    this.server = server;
    this.admin = admin;
  }

  static async start(all: Servers, name: string, source: MysqlServer, flags: readonly string[] = []): Promise<Replica> {
    const server = await all.mysql({ name, flags: ["--super-read-only=ON", ...flags] });
    const { host, port, user, password } = server;
    const admin = await createConnection({ host, port, user, password });
    admin.on("error", () => {});
    await admin.query(
      `CHANGE REPLICATION SOURCE TO SOURCE_HOST = ?, SOURCE_PORT = ?, SOURCE_USER = ?, SOURCE_PASSWORD = ?,
         SOURCE_AUTO_POSITION = 1, SOURCE_CONNECT_RETRY = 1, GET_SOURCE_PUBLIC_KEY = 1`,
      [source.host, source.port, source.user, source.password],
    );
    await admin.query("START REPLICA");
    return new Replica(server, admin);
  }

  /** What it receives from here on it does not execute. */
  async stopApplying(): Promise<void> {
    await this.admin.query("STOP REPLICA SQL_THREAD");
  }

  async startApplying(): Promise<void> {
    await this.admin.query("START REPLICA SQL_THREAD");
  }

  async delay(seconds: number): Promise<void> {
    await this.admin.query("STOP REPLICA");
    await this.admin.query(`CHANGE REPLICATION SOURCE TO SOURCE_DELAY = ${seconds}`);
    await this.admin.query("START REPLICA");
  }

  async waitFor(gtids: string): Promise<void> {
    const [[row]] = await this.admin.query<RowDataPacket[]>("SELECT WAIT_FOR_EXECUTED_GTID_SET(?, 60) AS late", [
      gtids,
    ]);
    if (row?.["late"] !== 0) throw new Error(`${this.server.name} has not executed ${gtids} in a minute`);
  }

  /** It follows nobody any more, and takes writes. */
  async promote(): Promise<void> {
    await this.admin.query("STOP REPLICA");
    await this.admin.query("SET GLOBAL super_read_only = OFF");
    await this.admin.query("SET GLOBAL read_only = OFF");
  }

  close(): void {
    this.admin.destroy();
  }
}

export async function executedBy(connection: Connection): Promise<string> {
  const [[row]] = await connection.query<RowDataPacket[]>("SELECT @@GLOBAL.gtid_executed AS gtids");
  return String(row?.["gtids"]).replaceAll("\n", "");
}

export async function uuidOf(connection: Connection): Promise<string> {
  const [[row]] = await connection.query<RowDataPacket[]>("SELECT @@server_uuid AS uuid");
  return String(row?.["uuid"]);
}
