import type { ServerAddress } from "../demo/mysql.ts";
import type { BenchRun } from "./bench-run.ts";
import type { Product } from "./product.ts";

/** The one tenant that all rows and all load belong to. */
export const TENANT = 1;

/** A lane that streams beside MySQL's own replica, with the same rows. */
export interface Streaming {
  readonly run: BenchRun;
  readonly product: Product;
  readonly move: string;
  readonly replica: ServerAddress;
}
