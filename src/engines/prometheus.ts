// Metrics of an engine, in Prometheus' text form.

/** Sums of samples by metric name, over all labels but histogram buckets. */
export type Metrics = ReadonlyMap<string, number>

/** Lines that are read; engines write some hundreds. */
const linesMax = 20_000

const sampleLine = /^([a-zA-Z_:][\w:]*)(?:\{(?:[^"}]|"(?:[^"\\]|\\.)*")*\})?\s+(\S+)/

/** Reads the text form. What is not a sample is skipped; a sample that is not a number as well. */
export function parseMetrics(text: string): Metrics {
  const metrics = new Map<string, number>()
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
    metrics.set(name, (metrics.get(name) ?? 0) + value)
  }
  return metrics
}
