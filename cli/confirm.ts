import type { Terminal } from "./terminal.ts";
import { UsageError } from "./usage-error.ts";

/** Before anything is asked of the server: nobody could answer. */
export function requirePerson(terminal: Terminal, command: string): void {
  if (!terminal.interactive) throw new UsageError(`${command} without a terminal needs --yes`);
}

export async function typeName(terminal: Terminal, move: string): Promise<void> {
  if ((await terminal.ask("Type the move's name to go on: ")) !== move)
    throw new UsageError("not confirmed; nothing has happened");
}
