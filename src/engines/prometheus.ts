// Metrics of an engine, in Prometheus' text form.

/**
 * Samples by metric name. An engine with several ranks writes one sample for each, told apart by labels: counts add up,
 * and of shares the fullest rank counts.
 */
export interface Metrics {
  /** Sum over all labels; undefined where there is no such metric. */
  sum(name: string): number | undefined
  /** Largest over all labels; undefined where there is no such metric. */
  max(name: string): number | undefined
}

/** Lines that are read; engines write some hundreds. */
const linesMax = 20_000

const sampleLine = /^([a-zA-Z_:][\w:]*)(?:\{(?:[^"}]|"(?:[^"\\]|\\.)*")*\})?\s+(\S+)/

/** Reads the text form. What is not a sample is skipped; a sample that is not a number as well. */
export function parseMetrics(text: string): Metrics {
  const samples = new Map<string, number[]>()
  let from = 0
  for (let lines = 0; from < text.length && lines < linesMax; lines++) {
    const newline = text.indexOf('\n', from)
    const end = newline === -1 ? text.length : newline
    const line = text.slice(from, end)
    from = end + 1
    if (line.startsWith('#')) continue
    const [, name, raw] = sampleLine.exec(line) ?? []
    const value = Number(raw)
    if (name === undefined || !Number.isFinite(value) || name.endsWith('_bucket')) continue
    const found = samples.get(name)
    if (found === undefined) samples.set(name, [value])
    else found.push(value)
  }
  return {
    sum: (name) => samples.get(name)?.reduce((sum, value) => sum + value, 0),
    max: (name) => samples.get(name)?.reduce((max, value) => Math.max(max, value)),
  }
}
