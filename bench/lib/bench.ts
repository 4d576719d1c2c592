// What a bench is: something that measures and returns rows.

/** One measured case. Keys are column names with their units; every row of a bench has the same ones. */
export type Row = Record<string, string | number | boolean>

/** What a bench found. */
export interface BenchReport {
  rows: Row[]
  /** What `--json` prints instead of `rows`, where a row has more to say than a table holds. */
  jsonRows?: object[]
  /** Sentences that belong to the figures: what follows from them, and what they leave out. */
  notes: string[]
  /** How it was measured: sizes, rounds, concurrency. */
  settings?: Readonly<Record<string, string | number | boolean>>
  /** Versions of the packages that were measured. */
  versions?: Readonly<Record<string, string>>
}

/** How to run. */
export interface BenchOptions {
  /** Fewer sizes and shorter runs: shows that the bench works, its figures are rough. */
  quick: boolean
  /** Over HTTP, for benches that can do either. */
  http?: boolean
  /** How long to run, for benches that run for a time. */
  minutes?: number
  /** Path of a file of recorded sessions, for benches that play one. */
  sessions?: string
  /** Path of RouteLLM's GSM8K pairs, for benches on them. */
  gsm8k?: string
  /** Path that a page with the figures is written to, by benches that make one. */
  html?: string
}

/** One bench, exported as `bench` by `bench/<name>.ts` and listed in `bench/main.ts`. */
export interface Bench {
  run(options: BenchOptions): BenchReport | Promise<BenchReport>
}
