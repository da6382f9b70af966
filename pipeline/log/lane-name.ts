import { hash } from "node:crypto";
import type { LaneId } from "../entry.ts";

/** What a Kafka topic's name and every file system allow, with room for a prefix. */
const LONGEST_NAME = 200;

/**
 * The lane as the name of a topic or a folder: a-z, 0-9, dot and dash stand for themselves, every other byte is `_` and
 * two hex digits. Different lanes have different names, also where a file system ignores case (T1).
 */
export function laneName(lane: LaneId): string {
  const name = Buffer.from(lane, "utf8")
    .toString("latin1")
    .replace(/^\.|[^a-z0-9.-]/g, (char) => `_${char.charCodeAt(0).toString(16).padStart(2, "0")}`);
  if (name.length <= LONGEST_NAME) return name;
  return `${name.slice(0, LONGEST_NAME - 66)}__${hash("sha256", lane)}`;
}
