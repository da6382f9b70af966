import { Router } from "../demo/router.ts";
import { settings, tell } from "./child.ts";

/** The demo's router, with the bench's tenants: fence and route adapter, and what the load asks where it may write. */
const { token, journalFile, tenants } = settings<{ token: string; journalFile: string; tenants: number }>();
const names = Array.from({ length: tenants }, (_, index) => String(index + 1));
const router = await Router.open({
  token,
  journalFile,
  homes: new Map(names.map((name) => [name, "source"])),
  port: 0,
  nowMs: Date.now,
});
await tell({ type: "ready", url: router.url });
const stop = () => void router.close().then(() => process.exit(0));
process.once("SIGTERM", stop);
process.once("disconnect", stop);
