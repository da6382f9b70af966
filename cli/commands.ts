import abort from "./abort.ts";
import adapterTest from "./adapter-test.ts";
import close from "./close.ts";
import type { Command } from "./command.ts";
import configCheck from "./config-check.ts";
import cutover from "./cutover.ts";
import journal from "./journal.ts";
import list from "./list.ts";
import log from "./log.ts";
import manifestCheck from "./manifest-check.ts";
import manifestInit from "./manifest-init.ts";
import manifestSchema from "./manifest-schema.ts";
import pause from "./pause.ts";
import preflight from "./preflight.ts";
import recopy from "./recopy.ts";
import resolve from "./resolve.ts";
import resume from "./resume.ts";
import retry from "./retry.ts";
import serve from "./serve.ts";
import skip from "./skip.ts";
import start from "./start.ts";
import status from "./status.ts";

/** In the order of the help: as a move goes. */
export const COMMANDS: readonly Command[] = [
  serve,
  configCheck,
  manifestInit,
  manifestCheck,
  manifestSchema,
  adapterTest,
  preflight,
  start,
  list,
  status,
  cutover,
  pause,
  resume,
  retry,
  skip,
  recopy,
  resolve,
  abort,
  close,
  journal,
  log,
];

export const GROUPS: Readonly<Record<string, string>> = {
  config: "The server's configuration.",
  manifest: "What any tenant of a system consists of.",
  adapter: "The application's side of a cutover.",
};
