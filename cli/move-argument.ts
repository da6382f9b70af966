import { z } from "zod";

export const moveArgument = z
  .string()
  .min(1)
  .describe("The move's name: <manifest>-<tenant> unless --name said otherwise");

export function movePath(move: string, rest = ""): string {
  return `/v1/moves/${encodeURIComponent(move)}${rest}`;
}
