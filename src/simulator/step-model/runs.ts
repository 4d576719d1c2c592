// Runs of tokens: what a prompt is made of, without a single token being stored.

import type { TokenSpan } from '../../schema/message.ts'

/**
 * Spans in their shortest form: empty ones dropped, neighbours that continue each other joined. Two lists name the same
 * tokens exactly if their shortest forms are equal, which is what makes run-by-run comparison of prefixes exact.
 */
export function mergeRuns(spans: readonly TokenSpan[]): TokenSpan[] {
  const runs: TokenSpan[] = []
  let last: TokenSpan | undefined
  for (const span of spans) {
    if (span.to <= span.from) continue
    if (last !== undefined && last.stream === span.stream && last.to === span.from) {
      last.to = span.to
    } else {
      last = { stream: span.stream, from: span.from, to: span.to }
      runs.push(last)
    }
  }
  return runs
}
