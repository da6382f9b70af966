/** One line of the table: what we reach, what stands beside us, and what must be reached. */
export interface Line {
  readonly name: string;
  readonly ours: number;
  readonly unit: string;
  /** What we are measured beside, in the same run and the same unit. */
  readonly beside: { readonly name: string; readonly value: number } | null;
  /** The requirement is about the ratio where there is one beside, else about our figure; null: shown only. */
  readonly required: { readonly atLeast: number } | { readonly atMost: number } | null;
}

export type Verdict = "reached" | "MISSED" | "";

export function ratioOf({ ours, beside }: Line): number | null {
  return beside === null ? null : ours / beside.value;
}

export function verdictOf(line: Line): Verdict {
  if (line.required === null) return "";
  const value = ratioOf(line) ?? line.ours;
  const reached = "atLeast" in line.required ? value >= line.required.atLeast : value <= line.required.atMost;
  return reached ? "reached" : "MISSED";
}

/** Markdown, as it stands in a README. */
export function tableText(lines: readonly Line[]): string {
  const head = ["what", "ours", "beside", "ratio", "required", "verdict"];
  const rows = lines.map((line) => {
    const ratio = ratioOf(line);
    return [
      line.name,
      `${shown(line.ours)} ${line.unit}`,
      line.beside === null ? "" : `${line.beside.name}: ${shown(line.beside.value)}`,
      ratio === null ? "" : ratio.toFixed(2),
      line.required === null
        ? ""
        : "atLeast" in line.required
          ? `>= ${line.required.atLeast}`
          : `<= ${line.required.atMost}`,
      verdictOf(line),
    ];
  });
  return [head, head.map(() => "---"), ...rows].map((cells) => `| ${cells.join(" | ")} |`).join("\n");
}

export function lineJson(line: Line): Readonly<Record<string, unknown>> {
  return {
    name: line.name,
    ours: line.ours,
    unit: line.unit,
    beside: line.beside,
    ratio: ratioOf(line),
    required: line.required,
    verdict: verdictOf(line) === "" ? null : verdictOf(line).toLowerCase(),
  };
}

function shown(value: number): string {
  return Math.abs(value) >= 1_000 ? Math.round(value).toLocaleString("en") : String(Number(value.toPrecision(3)));
}
