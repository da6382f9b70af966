import { request } from "node:http";

// What the bench reads of the product's answers; everything else is left alone.
export type LaneAnswer = {
  readonly capture: string;
  readonly lagSeconds: number | null;
  readonly waiting: readonly string[];
  readonly watermark: number | null;
  readonly tailSeq: number | null;
};
export type StatusAnswer = {
  readonly phase: string;
  readonly problem: { readonly message: string; readonly remedy: string } | null;
  readonly lanes: readonly LaneAnswer[];
};
export type VerificationAnswer = {
  readonly lanes: readonly {
    readonly covered: boolean;
    readonly passUnderWay: boolean;
    readonly rowsVerified: number;
    /** By this process, in all passes and rounds. */
    readonly rowsCompared: number;
  }[];
  readonly differences: readonly unknown[];
};
export type StepAnswer = { readonly step: string; readonly tookMs: number };
export type CutoverAnswer = {
  readonly outcome: string;
  readonly reason: string | null;
  readonly steps: readonly StepAnswer[];
  readonly pauseMs: number | null;
  /** Right before the fence. */
  readonly predicted: readonly { readonly step: string; readonly ms: number }[];
};
export type JournalAnswer = readonly {
  readonly event: string;
  readonly atMs: number;
  readonly facts: Readonly<Record<string, unknown>>;
}[];

/** The product's HTTP API over its socket. Any answer but 200 is an error with the answer's text. */
export class DrayApi {
  readonly #socketPath: string;
  constructor(options: { readonly socketPath: string }) {
    this.#socketPath = options.socketPath;
  }

  async get<Answer>(path: string): Promise<Answer> {
    return JSON.parse(await this.#send("GET", path, null)) as Answer;
  }

  async post<Answer>(path: string, body: object | null): Promise<Answer> {
    return JSON.parse(await this.#send("POST", path, body)) as Answer;
  }

  status(move: string): Promise<StatusAnswer> {
    return this.get(`/v1/moves/${move}`);
  }

  journal(move: string): Promise<JournalAnswer> {
    return this.get(`/v1/moves/${move}/journal`);
  }

  /** The answer is a line a step; the result comes last. */
  async switch(verb: "cutover" | "rollback", move: string, body: object): Promise<CutoverAnswer> {
    const lines = (await this.#send("POST", `/v1/moves/${move}/${verb}`, body)).trim().split("\n");
    const last = JSON.parse(lines.at(-1) ?? "{}") as { type?: string; result?: CutoverAnswer };
    if (last.type !== "result" || last.result === undefined) throw new Error(`${verb} of ${move}: ${lines.at(-1)}`);
    return last.result;
  }

  #send(method: string, path: string, body: object | null): Promise<string> {
    const text = body === null ? null : JSON.stringify(body);
    const headers: Record<string, string> = { "x-dray-operator": "bench", accept: "application/json" };
    if (text !== null) headers["content-type"] = "application/json";
    return new Promise((resolve, reject) => {
      const sent = request({ socketPath: this.#socketPath, method, path, headers }, (response) => {
        let answer = "";
        response.setEncoding("utf8").on("data", (part: string) => {
          answer += part;
        });
        response.once("error", reject);
        response.once("end", () => {
          if (response.statusCode === 200) resolve(answer);
          else reject(new Error(`${method} ${path}: HTTP ${response.statusCode} ${answer}`));
        });
      });
      sent.once("error", reject);
      sent.end(text ?? undefined);
    });
  }
}
