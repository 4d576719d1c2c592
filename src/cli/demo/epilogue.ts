// What a showing adds when a run is over: results and prompts of single stages, and cached tokens turn by turn.

import type { Message, RunOutcome, Workflow } from '../../index.ts'
import type { LogEntry } from '../view/describe.ts'
import { count, duration, percent } from '../view/format.ts'
import { span, wrap, type Line } from '../view/line.ts'
import { oneLine, sanitize } from '../view/sanitize.ts'
import { valueLines } from '../view/summary.ts'
import type { Beginning } from './reporter.ts'

/** Decisions that are shown, the latest. */
const decisionsMax = 20
/** Lines of a prompt that are shown, message by message. */
const messageLinesMax = 24

/**
 * The lines that a showing adds to the summary.
 *
 * @param log - what happened, where it was not written line by line already
 */
export function epilogueLines(
  { showing, workflow, input }: Beginning,
  outcome: RunOutcome,
  width: number,
  log: readonly LogEntry[] = [],
): Line[] {
  const lines: Line[] = []
  for (const stage of showing.results) {
    const value = outcome.results[stage]
    if (value === undefined) continue
    const report = outcome.stages[stage]
    lines.push([], [span(`What ${stage} answered`, 'strong'), span(`  ${report?.backend} · ${report?.model}`, 'quiet')])
    lines.push(...valueLines(value, width))
  }
  for (const stage of showing.prompts) {
    const messages = promptOf(workflow, stage, input, outcome)
    if (messages.length === 0) continue
    lines.push([], [span(`What ${stage} was asked, built from upstream results`, 'strong')])
    for (const { role, content } of messages) {
      lines.push([span(`  ${role}`, 'accent')])
      lines.push(...wrap(sanitize(content), width - 4, messageLinesMax).map((text) => [span(`    ${text}`)]))
    }
  }
  if (showing.cachedByTurn) lines.push(...decisionLines(log, width), ...cacheLines(outcome))
  return lines
}

/** A stage's prompt, built again from what the run left behind: prompts are pure functions. */
function promptOf(workflow: Workflow, stage: string, input: unknown, outcome: RunOutcome): readonly Message[] {
  const found = workflow.definition.byName.get(stage)
  if (outcome.stages[stage]?.state !== 'completed' || typeof found?.prompt !== 'function') return []
  const built = found.prompt({ input, results: outcome.results })
  return typeof built === 'string' ? [{ role: 'user', content: built }] : built
}

/** What the memory manager decided, and why. */
function decisionLines(log: readonly LogEntry[], width: number): Line[] {
  const decisions = log.filter(({ text }) => text.startsWith('cache ')).slice(-decisionsMax)
  if (decisions.length === 0) return []
  const rows = decisions.flatMap(({ atMs, text }) =>
    wrap(text, width - 12, 3).map((part, i): Line => [
      span(`  ${(i === 0 ? duration(atMs) : '').padStart(8)}  `, 'quiet'),
      span(part),
    ]),
  )
  return [[], [span('What became of the KV caches, and why', 'strong')], ...rows]
}

/** How much of each prompt the engine had in its cache. */
function cacheLines({ stages }: RunOutcome): Line[] {
  const rows = Object.entries(stages).flatMap(([name, { turns, backend }]) =>
    turns.map(({ promptTokens, cachedTokens }, index): Line => {
      const share = cachedTokens === null ? '' : percent(cachedTokens, promptTokens ?? 0)
      const text = `${count(cachedTokens).padStart(6)} of ${count(promptTokens).padStart(6)} prompt tokens cached`
      return [
        span(`  ${oneLine(name).padEnd(14)} turn ${index + 1} on ${(backend ?? '-').padEnd(6)} `),
        span(`${text}  ${share}`, (cachedTokens ?? 0) > 0 ? 'ok' : 'quiet'),
      ]
    }),
  )
  return [[], [span('Prompt tokens from the KV cache, turn by turn', 'strong')], ...rows]
}
