import type { Logger } from "pino";
import type { ErrorCode } from "../pipeline/errors.ts";
import { PROBLEMS } from "../pipeline/errors.ts";
import type { Alarm, ControlStore, JsonObject } from "./control-store.ts";

export type AlarmsOptions = {
  readonly store: ControlStore;
  readonly logger: Logger;
  /** Called with each new alarm; its failure is logged, and never holds anything up. */
  readonly post: ((alarm: Alarm, remedy: string) => Promise<void>) | null;
};

/**
 * What somebody must know now: an error line in the log, the first line of `status`, exit code 5, and the configured
 * URL. Durable before `raise` resolves; one that repeats is one alarm that is counted up.
 */
export class Alarms {
  readonly #options: AlarmsOptions;

  constructor(options: AlarmsOptions) {
    this.#options = options;
  }

  async raise(move: string, code: ErrorCode, message: string, facts: JsonObject): Promise<void> {
    const { store, logger, post } = this.#options;
    const { remedy } = PROBLEMS[code];
    const alarm = await store.raiseAlarm({ move, code, message, facts });
    logger.error({ move, code, facts, remedy, times: alarm.times }, `ALARM ${message}`);
    if (post !== null && alarm.times === 1) {
      post(alarm, remedy).catch((error: unknown) => {
        logger.warn({ move, code, error: String(error) }, "the alarm URL did not answer");
      });
    }
  }

  async clear(move: string, code: ErrorCode): Promise<void> {
    if (await this.#options.store.clearAlarm(move, code, "server")) {
      this.#options.logger.info({ move, code }, "alarm cleared");
    }
  }

  of(move: string): Promise<readonly Alarm[]> {
    return this.#options.store.alarms(move);
  }
}
