import { randomInt } from "node:crypto";
import { createServer } from "node:net";

/**
 * A TCP port on 127.0.0.1 that nothing listens on, below the range from which the kernel takes the ports of outgoing
 * connections: a server that is stopped for a while finds it still free.
 */
export async function freePort(): Promise<number> {
  for (let tries = 0; tries < 200; tries += 1) {
    const port = randomInt(15_000, 32_000);
    if (await isFree(port)) return port;
  }
  throw new Error("no free port found between 15000 and 32000");
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once("error", () => resolve(false));
    probe.listen({ port, host: "127.0.0.1", exclusive: true }, () => probe.close(() => resolve(true)));
  });
}

/** Starts a server on ports of its own choice; once more where another process took one between the look and the start. */
export async function onFreePorts<T>(start: () => Promise<T>, isTaken: (error: unknown) => boolean): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await start();
    } catch (error) {
      if (tries === 4 || !isTaken(error)) throw error;
    }
  }
}
