/**
 * What an operator may answer for where Drayage cannot know, or would refuse. A manifest names them, so that they are
 * recorded with every move of it.
 */
export const CONSENTS = {
  "relaxed-durability": "a crash of either server may lose commits it has acknowledged (M6)",
  "short-retention": "the source purges its binary log sooner than the floor",
  "full-scan": "chunk reads examine more than three times the tenant's rows (W7)",
  "ids-globally-unique": "keys without the tenant in them are made globally unique by the application (C9)",
  "references-by-hand": "reference tables that no foreign key leads to were compared by hand (T2)",
} as const;
export type Consent = keyof typeof CONSENTS;
export const CONSENT_NAMES = Object.keys(CONSENTS) as readonly Consent[];
