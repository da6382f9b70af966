import type { AddressInfo } from "node:net";
import { connect, createServer, type Server, type Socket } from "node:net";
import type { MysqlAddress } from "../../connectors/mysql/client.ts";

/**
 * A link to a server that loses answers: once `cutAfter` has been set, the next request that holds this text is passed
 * on, its answer is swallowed, and the link breaks once the server has answered.
 */
export class CuttingProxy {
  readonly #server: Server;
  readonly #links = new Set<Socket>();
  #cutAfter: string | null = null;
  #cuts = 0;
  #open = true;

  private constructor(target: MysqlAddress) {
    this.#server = createServer((client) => this.#link(client, target));
  }

  static async to(target: MysqlAddress): Promise<{ readonly proxy: CuttingProxy; readonly address: MysqlAddress }> {
    const proxy = new CuttingProxy(target);
    await new Promise<void>((resolve) => proxy.#server.listen(0, "127.0.0.1", resolve));
    const { port } = proxy.#server.address() as AddressInfo;
    return { proxy, address: { ...target, host: "127.0.0.1", port } };
  }

  get cuts(): number {
    return this.#cuts;
  }

  cutAfter(text: string): void {
    this.#cutAfter = text;
  }

  /** Nobody gets through any more. */
  break(): void {
    this.#open = false;
    for (const link of this.#links) link.destroy();
  }

  close(): void {
    this.break();
    this.#server.close();
  }

  #link(client: Socket, target: MysqlAddress): void {
    if (!this.#open) {
      client.destroy();
      return;
    }
    const server = connect(target.port, target.host);
    for (const socket of [client, server]) {
      this.#links.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => {
        this.#links.delete(socket);
        client.destroy();
        server.destroy();
      });
    }
    let swallowing = false;
    client.on("data", (bytes) => {
      if (this.#cutAfter !== null && bytes.includes(this.#cutAfter)) {
        this.#cutAfter = null;
        swallowing = true;
      }
      server.write(bytes);
    });
    server.on("data", (bytes) => {
      if (!swallowing) {
        client.write(bytes);
        return;
      }
      this.#cuts += 1;
      client.destroy();
    });
  }
}
