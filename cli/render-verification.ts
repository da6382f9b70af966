import type { DifferenceReport, VerificationReport } from "../cutover/move-service.ts";
import { EXIT, type ExitCode } from "./command.ts";

/** Ranges are still to be compared. */
export function isUnderWay({ lanes }: VerificationReport): boolean {
  return lanes.some(({ passUnderWay, covered }) => passUnderWay || !covered);
}

export function verificationExit({ lanes, differences }: VerificationReport): ExitCode {
  return differences.length > 0 || lanes.some(({ moreDiffer }) => moreDiffer) ? EXIT.failed : EXIT.done;
}

export function verificationLines({ lanes, differences }: VerificationReport): string[] {
  return [
    ...lanes.flatMap((lane) => [
      `  lane ${lane.lane}: ${(100 * lane.coverage).toFixed(lane.covered ? 0 : 1)}% verified, ${lane.dirtyKeys} dirty keys, ${lane.moreDiffer ? "more than " : ""}${lane.differences} differences`,
      ...lane.tables.map(
        ({ table, rowsVerified, covered, passUnderWay, dirtyKeys }) =>
          `    ${table}: ${rowsVerified} rows ${covered ? "verified" : "so far"}${passUnderWay ? ", being compared" : ""}, ${dirtyKeys} dirty keys`,
      ),
    ]),
    ...differences.flatMap(differenceLines),
  ];
}

function differenceLines(difference: DifferenceReport): string[] {
  const { table, key, kind, columns, seq, foundAtMs, source: from, target: to, values } = difference;
  // A row that is missing, or one too many, is so at the side that the lane leads to.
  const where = kind === "differing" ? "" : ` at ${to}`;
  const at = columns === null || columns.length === 0 ? where : ` in ${columns.join(", ")}`;
  const when = new Date(foundAtMs).toISOString();
  return [
    `  ${table} ${key}: ${kind}${at} (at seq ${seq}, ${when})`,
    ...Object.entries(values ?? {}).map(
      ([column, { source, target }]) => `    ${column}: ${source ?? "NULL"} at ${from}, ${target ?? "NULL"} at ${to}`,
    ),
  ];
}
