// What a backend can do, as declared by its options and found out by probing.

/** How far an engine can do something with its KV cache. */
export type Support = 'exact' | 'best-effort' | 'hint' | 'none'

/** What a backend can do. A driver declares what it knows; probing fills in the rest. */
export interface Capabilities {
  /** Name of the engine: `openai`, `simulated`, `vllm`, ... */
  engine: string
  /** Models served, when known. A mapping to another model is refused. */
  models?: string[]
  /** Tokens of prompt and answer together, when known. */
  contextLength?: number
  /** Requests the engine itself runs at once, when known. */
  concurrencyMax?: number
  /** Takes `tools`. */
  tools: boolean
  /** Takes a JSON Schema for the answer. */
  jsonSchema: boolean
  /** Reports cached prompt tokens. */
  cachedTokens: 'always' | 'when-nonzero' | 'never' | 'unknown'
  /** Concurrent requests with a common prefix share its KV cache. */
  sharedPrefix: boolean
  /** The engine's own version, when it tells. */
  version?: string
  /** In which order the engine itself takes priorities on its wire; the driver translates. Absent: not known. */
  priority?: 'low-first' | 'high-first' | 'none'
  /** What it cannot do, or could do with another flag, in words for people. */
  notes?: string[]
  /** KV control, by action. */
  kv: {
    flushAll: Support
    releaseSession: Support
    isolate: Support
    retain: Support
  }
}
