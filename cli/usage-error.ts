/** The command line is wrong: exit code 2, nothing was asked of the server. */
export class UsageError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "UsageError";
  }
}
