// Our own format: what was recorded of runs, one line a run after a line that says what it is.
//
// Spans are `[stream, from, to]`. Nothing in it is text of a prompt.

import { z } from 'zod'
import { limits } from '../../../limits.ts'
import { formatPath } from '../../../schema/options.ts'
import type { FileProblems } from '../problems.ts'
import type { Workload, WorkloadRun } from '../workload.ts'
import { timeMsMax } from './cells.ts'
import { TurnBudget, type WorkloadFormat } from './format.ts'
import { parseObject } from './json-lines.ts'

const recordedFormatName = 'orla-workload'
const version = 1

const Position = z.int().min(0).max(limits.workloadTokensMax)
const Time = z.number().min(0).max(timeMsMax)
const Name = z
  .string()
  .min(1)
  .max(limits.nameLengthMax)
  .regex(/^[\p{L}\p{N}_.:-]+$/u, 'use letters, digits and . _ : - only')
const Turn = z.strictObject({
  shared: z.int().min(0).default(0),
  fresh: z.array(z.tuple([z.string().min(1).max(limits.nameLengthMax), Position, Position])).min(1),
  out: Position.min(1),
  waitMs: Time.default(0),
  waitFor: z.string().max(limits.nameLengthMax).default('user'),
})
const Run = z.strictObject({
  id: z.string().min(1).max(limits.nameLengthMax),
  arrivalMs: Time.optional(),
  tenant: z.string().min(1).max(limits.nameLengthMax).optional(),
  priority: z.number().optional(),
  steps: z
    .array(z.strictObject({ name: Name, after: z.array(Name).default([]), turns: z.array(Turn) }))
    .min(1)
    .max(limits.stagesMax),
})
const Header = z.strictObject({
  format: z.literal(recordedFormatName),
  version: z.literal(version, { error: `must be ${version}: a newer orla wrote this file` }),
  source: z.string().max(1_000).optional(),
  seed: z.number().optional(),
  settings: z.record(z.string(), z.json()).optional(),
})

/** The first line of a recorded workload. */
export function headerLine(facts: Pick<Workload, 'source' | 'seed' | 'settings'>): string {
  const { source, seed, settings } = facts
  return JSON.stringify({ format: recordedFormatName, version, source, seed, settings })
}

/** One run as a line. */
export function runLine(run: WorkloadRun): string {
  const { id, arrivalMs, tenant, priority } = run
  const steps = run.steps.map(({ name, after, turns }) => ({
    name,
    after: after.length === 0 ? undefined : after,
    turns: turns.map(({ shared, fresh, outputTokens, waitMs, waitFor }) => ({
      shared: shared === 0 ? undefined : shared,
      fresh: fresh.map(({ stream, from, to }) => [stream, from, to]),
      out: outputTokens,
      waitMs: waitMs === 0 ? undefined : waitMs,
      waitFor: waitFor === 'user' ? undefined : waitFor,
    })),
  }))
  return JSON.stringify({ id, arrivalMs, tenant, priority, steps })
}

/** Our own format. */
export const recordedFormat: WorkloadFormat = {
  name: 'recorded workload ({"format":"orla-workload"})',
  begins(line) {
    const parsed = parseObject(line)
    return 'object' in parsed && 'format' in parsed.object
  },
  async read(lines, { problems }) {
    const budget = new TurnBudget(problems)
    const runs: WorkloadRun[] = []
    let header: z.output<typeof Header> | undefined
    for await (const { number: line, text } of lines) {
      if (header === undefined) {
        header = parseLine(Header, text, line, problems)
        if (header === undefined) break
        continue
      }
      const parsed = parseLine(Run, text, line, problems)
      if (parsed === undefined) continue
      if (
        !budget.take(
          line,
          Math.max(
            1,
            parsed.steps.reduce((sum, { turns }) => sum + turns.length, 0),
          ),
        )
      )
        break
      const run = runOf(parsed)
      if (checkRun(run, line, problems)) runs.push(run)
    }
    if (runs.every(({ arrivalMs }) => arrivalMs !== undefined)) runs.sort(byArrival)
    return {
      source: header?.source ?? 'recorded by orla',
      runs,
      ...(header?.seed !== undefined && { seed: header.seed }),
      ...(header?.settings !== undefined && { settings: header.settings }),
    }
  },
}

const naturally = new Intl.Collator('en', { numeric: true })

/** Runs are recorded as they end; those that began together go by their number. */
function byArrival(a: WorkloadRun, b: WorkloadRun): number {
  return a.arrivalMs! - b.arrivalMs! || naturally.compare(a.id, b.id)
}

function parseLine<Schema extends z.ZodType>(
  schema: Schema,
  text: string,
  line: number,
  problems: FileProblems,
): z.output<Schema> | undefined {
  const parsed = parseObject(text)
  if ('problem' in parsed) {
    problems.add({ line }, 'not_an_object', parsed.problem)
    return undefined
  }
  const checked = schema.safeParse(parsed.object)
  if (checked.success) return checked.data
  for (const issue of checked.error.issues) {
    problems.add({ line, column: formatPath('', issue.path) }, issue.code, issue.message)
  }
  return undefined
}

function runOf({ id, arrivalMs, tenant, priority, steps }: z.output<typeof Run>): WorkloadRun {
  return {
    id,
    ...(arrivalMs !== undefined && { arrivalMs }),
    ...(tenant !== undefined && { tenant }),
    ...(priority !== undefined && { priority }),
    steps: steps.map(({ name, after, turns }) => ({
      name,
      after,
      turns: turns.map(({ shared, fresh, out, waitMs, waitFor }) => ({
        shared,
        fresh: fresh.map(([stream, from, to]) => ({ stream, from, to })),
        outputTokens: out,
        waitMs,
        waitFor,
      })),
    })),
  }
}

/** What the shapes above do not say: names that exist, spans that do not run backwards, prefixes that were there. */
function checkRun({ steps }: WorkloadRun, line: number, problems: FileProblems): boolean {
  const before = problems.count
  const names = new Set(steps.map(({ name }) => name))
  if (names.size < steps.length) problems.add({ line, column: 'steps' }, 'duplicate', 'hold two of one name')
  for (const [i, { after, turns }] of steps.entries()) {
    for (const name of after) {
      if (!names.has(name)) problems.add({ line, column: `steps[${i}].after` }, 'unknown_step', `names "${name}"`)
    }
    let known = 0
    for (const [j, { shared, fresh, outputTokens }] of turns.entries()) {
      const column = `steps[${i}].turns[${j}]`
      const added = fresh.reduce((sum, { from, to }) => sum + to - from, 0)
      if (fresh.some(({ from, to }) => to < from))
        problems.add({ line, column }, 'span', 'holds a span that runs backwards')
      else if (shared > known) problems.add({ line, column }, 'reuse', `shares ${shared} tokens of ${known}`)
      else if (shared + added < 1) problems.add({ line, column }, 'empty', 'has an empty prompt')
      known = shared + added + outputTokens
    }
  }
  return problems.count === before
}
