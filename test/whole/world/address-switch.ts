import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";

type Address = { readonly host: string; readonly port: number };

/** An address that leads to one server and then to another, as a cluster's does by its name, a proxy or a virtual IP. */
export class AddressSwitch {
  readonly #server: Server;
  readonly #links = new Set<Socket>();
  #to: Address | null;

  private constructor(to: Address) {
    this.#to = to;
    this.#server = createServer((client) => this.#link(client));
  }

  static async to(server: Address): Promise<AddressSwitch> {
    const address = new AddressSwitch(server);
    await new Promise<void>((resolve) => address.#server.listen(0, "127.0.0.1", resolve));
    return address;
  }

  get address(): Address {
    return { host: "127.0.0.1", port: (this.#server.address() as AddressInfo).port };
  }

  /** Null: nobody answers. Links to the server of before are cut, unless they are kept as a name's are. */
  leadTo(server: Address | null, links: "cut" | "kept" = "cut"): void {
    this.#to = server;
    if (links === "cut") for (const link of this.#links) link.destroy();
  }

  close(): void {
    this.leadTo(null);
    this.#server.close();
  }

  #link(client: Socket): void {
    if (this.#to === null) {
      client.destroy();
      return;
    }
    const server = connect(this.#to.port, this.#to.host);
    for (const socket of [client, server]) {
      socket.setNoDelay(true);
      this.#links.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => {
        this.#links.delete(socket);
        client.destroy();
        server.destroy();
      });
    }
    client.pipe(server).pipe(client);
  }
}
