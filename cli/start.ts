import { z } from "zod";
import type { ActionResult } from "../cutover/move-service.ts";
import { command } from "./command.ts";
import { moveRequest, moveRequestFlags, moveRequestOptions } from "./move-request.ts";
import { actionResult } from "./render-status.ts";

export default command({
  name: "start",
  summary: "Preflight, then starts to copy the tenant and to stream every later change.",
  options: z.object({
    ...moveRequestOptions,
    name: z
      .string()
      .min(1)
      .optional()
      .describe("The move's name; <manifest>-<tenant> where absent. An aborted or closed one may begin again"),
  }),
  flags: { ...moveRequestFlags, name: "--name <move>" },
  async run({ api }, { name, ...request }) {
    return actionResult(await api.post<ActionResult>("/v1/moves", { ...moveRequest(request), name: name ?? null }));
  },
});
