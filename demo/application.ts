import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { parseArgs } from "node:util";
import { LedgerWriter } from "./ledger.ts";
import { Load } from "./load.ts";
import type { ServerAddress } from "./mysql.ts";
import { Pool } from "./pool.ts";
import { RouterClient } from "./router-client.ts";
import { SOURCE_TENANTS, TARGET_TENANTS } from "./schema.ts";

/**
 * The demo's application, a process of its own: writes for all tenants on both sides and keeps the ledger. Its control
 * port: `GET /stats`; `POST /focus?tenant=` gives that tenant half of the load; `POST /stray?tenant=` writes one row at
 * the source whatever the router says and answers with its table and key; `POST /reserve?tenant=` answers with a row that
 * is left alone from now on; `POST /hold` answers once nothing is under way, and nothing is until `POST /release`;
 * `POST /stop` answers once all is settled.
 */
async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      ledger: { type: "string" },
      router: { type: "string" },
      tps: { type: "string", default: "300" },
      seed: { type: "string", default: "1" },
      focus: { type: "string", default: "acme" },
    },
  });
  if (values.ledger === undefined || values.router === undefined) throw new Error("--ledger and --router are needed");
  const ledger = new LedgerWriter({ path: values.ledger });
  const router = new RouterClient({ url: values.router });
  const pools = {
    source: new Pool({ address: address("DEMO_SOURCE") }),
    target: new Pool({ address: address("DEMO_TARGET") }),
  };
  const load = new Load({
    ledger,
    router,
    pools,
    perSecond: Number(values.tps),
    seed: Number(values.seed),
    focus: values.focus,
  });

  const answer = async (request: IncomingMessage): Promise<unknown> => {
    const url = new URL(request.url ?? "/", "http://application");
    const tenant = url.searchParams.get("tenant") ?? "";
    switch (`${request.method} ${url.pathname}`) {
      case "GET /stats":
        return load.stats();
      case "POST /focus":
        load.focus(tenant);
        return {};
      case "POST /stray":
        return load.stray(tenant);
      case "POST /reserve":
        return load.reserve(tenant);
      case "POST /hold":
        await load.hold();
        return {};
      case "POST /release":
        load.release();
        return {};
      case "POST /stop":
        await load.stop();
        return load.stats();
      default:
        throw new Error("no such path");
    }
  };
  const control = createServer((request, response) => {
    answer(request).then(
      (body) => response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(body)),
      (error: unknown) => response.writeHead(400).end(JSON.stringify({ error: String(error) })),
    );
  });

  const end = async (): Promise<void> => {
    await load.stop();
    await Promise.all([pools.source.close(), pools.target.close()]);
    router.close();
    ledger.close();
    process.exit(0);
  };
  process.once("SIGTERM", () => void end());
  process.once("SIGINT", () => void end());
  process.once("disconnect", () => void end()); // the demo is gone

  await load.start([...SOURCE_TENANTS, ...TARGET_TENANTS]);
  await new Promise<void>((resolve) => control.listen(0, "127.0.0.1", resolve));
  process.stdout.write(`${JSON.stringify({ url: `http://127.0.0.1:${(control.address() as AddressInfo).port}` })}\n`);
}

/** Server addresses come by the environment: a command line is everybody's to read. */
function address(name: string): ServerAddress {
  const text = process.env[name];
  if (text === undefined) throw new Error(`${name} is needed`);
  return JSON.parse(text) as ServerAddress;
}

if (import.meta.main) await main();
