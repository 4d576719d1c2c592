// Agentic Mooncake rows (NVIDIA Dynamo): requests with hash blocks, and which requests each one waits for.
//
// A row is sent once every row of `wait_for` has its answer and `delay` and `tool_wait_ms` have passed. Rows that are
// tied together, by a session or by waiting, are one run; rows that only follow each other are turns of one step.

import type { FileProblems } from '../problems.ts'
import { sessionStep, type WorkloadRun, type WorkloadStep, type WorkloadTurn } from '../workload.ts'
import { blockIdsFrom, blocksProblem, blockSpans, commonBlocks, type BlockPrompt } from './blocks.ts'
import { nameFrom, numberFrom, timeMsMax, tokensFrom } from './cells.ts'
import { TurnBudget, type WorkloadFormat } from './format.ts'
import { parseObject, readObjects, type JsonLine } from './json-lines.ts'

const keys = [
  'request_id',
  'session_id',
  'wait_for',
  'branches',
  'timestamp',
  'delay',
  'tool_wait_ms',
  'tool_events',
  'prefix_reset',
  'hash_ids',
  'input_length',
  'output_length',
]

interface AgenticRow extends BlockPrompt {
  line: number
  session: string
  outputTokens: number
  /** When it was sent, ms; rows that wait for nothing begin then. */
  atMs: number | undefined
  waitMs: number
  waitFor: string
  waitsFor: string[]
  branches: string[]
  /** Rows it waits for, and rows that wait for it. */
  before: AgenticRow[]
  behind: AgenticRow[]
}

/** Agentic Mooncake rows. */
export const agenticFormat: WorkloadFormat = {
  name: 'agentic Mooncake JSONL (request_id,session_id,wait_for,branches,delay,tool_wait_ms,hash_ids,...)',
  begins(line) {
    const parsed = parseObject(line)
    return 'object' in parsed && ['request_id', 'wait_for', 'session_id'].some((key) => key in parsed.object)
  },
  async read(lines, { problems, blockTokens }) {
    const budget = new TurnBudget(problems)
    const rows = new Map<string, AgenticRow>()
    for await (const json of readObjects(lines, keys, problems)) {
      if (!budget.take(json.line)) break
      const row = readRow(json, blockTokens, problems)
      if (row === undefined) continue
      const first = rows.get(row.id)
      if (first === undefined) rows.set(row.id, row)
      else problems.add({ line: row.line, column: 'request_id' }, 'duplicate', `is that of line ${first.line} too`)
    }
    // Rows that could not be read are missing below: what follows from that would be noise.
    if (problems.count === 0) link(rows, problems)
    if (problems.count > 0) return { source: '', runs: [] }
    const runs = groups([...rows.values()]).map((group) => runOf(group, blockTokens))
    const timed = runs.every(({ arrivalMs }) => arrivalMs !== undefined)
    if (timed) runs.sort((a, b) => a.arrivalMs! - b.arrivalMs!)
    else for (const run of runs) delete run.arrivalMs
    return { source: 'agentic trace (Dynamo, agentic Mooncake rows)', runs }
  },
}

function readRow({ line, object }: JsonLine, blockTokens: number, problems: FileProblems): AgenticRow | undefined {
  const at = (column: string): { line: number; column: string } => ({ line, column })
  const time = (key: string): number | null | undefined =>
    object[key] === undefined || object[key] === null
      ? null
      : numberFrom(object[key], { problems, place: at(key), max: timeMsMax })
  const ids = (key: string): string[] | undefined => {
    const value = object[key] ?? []
    if (Array.isArray(value) && value.every((id) => typeof id === 'string' || typeof id === 'number')) {
      return [...new Set(value.map(String))]
    }
    problems.add(at(key), 'not_a_list', 'a list of request ids is needed')
    return undefined
  }
  const id = nameFrom(object['request_id'], problems, at('request_id'))
  const session =
    (object['session_id'] ?? null) === null ? id : nameFrom(object['session_id'], problems, at('session_id'))
  const tokens = tokensFrom(object['input_length'], problems, at('input_length'))
  const output = tokensFrom(object['output_length'], problems, at('output_length'))
  const blocks = blockIdsFrom(object['hash_ids'] ?? [], problems, at('hash_ids'))
  const [atMs, delay, toolMs] = [time('timestamp'), time('delay'), time('tool_wait_ms')]
  const [waitsFor, branches] = [ids('wait_for'), ids('branches')]
  if (id === undefined || session === undefined || tokens === undefined || output === undefined) return undefined
  if (blocks === undefined || waitsFor === undefined || branches === undefined) return undefined
  if (atMs === undefined || delay === undefined || toolMs === undefined) return undefined
  const prompt = { id, tokens: Math.max(1, tokens), blocks }
  const problem = blocksProblem(prompt, blockTokens)
  if (problem !== undefined) {
    problems.add(at('hash_ids'), 'blocks', problem)
    return undefined
  }
  return {
    ...prompt,
    line,
    session,
    outputTokens: Math.max(1, output),
    atMs: atMs ?? undefined,
    waitMs: (delay ?? 0) + (toolMs ?? 0),
    waitFor: toolName(object['tool_events']) ?? ((toolMs ?? 0) > 0 ? 'tool' : 'user'),
    waitsFor,
    branches,
    before: [],
    behind: [],
  }
}

/** Name of the first tool that ran before a request, where the trace says. */
function toolName(events: unknown): string | undefined {
  const first: unknown = Array.isArray(events) ? events[0] : undefined
  if (typeof first !== 'object' || first === null) return undefined
  for (const key of ['tool_name', 'name', 'tool']) {
    const name = (first as Record<string, unknown>)[key]
    if (typeof name === 'string' && name !== '') return name.slice(0, 60)
  }
  return undefined
}

/** Ties rows to those they wait for. Notes ids that do not exist, and circles. */
function link(rows: ReadonlyMap<string, AgenticRow>, problems: FileProblems): void {
  const find = (row: AgenticRow, column: string, id: string): AgenticRow | undefined => {
    const found = rows.get(id)
    if (found === undefined)
      problems.add({ line: row.line, column }, 'unknown_request', `names "${id}", which no row is`)
    return found
  }
  const tie = (before: AgenticRow | undefined, row: AgenticRow | undefined): void => {
    if (before === undefined || row === undefined || row.before.includes(before)) return
    row.before.push(before)
    before.behind.push(row)
  }
  for (const row of rows.values()) {
    for (const id of row.waitsFor) tie(find(row, 'wait_for', id), row)
    for (const id of row.branches) tie(row, find(row, 'branches', id))
  }
  const open = new Map([...rows.values()].map((row) => [row, row.before.length]))
  const free = [...rows.values()].filter((row) => row.before.length === 0)
  for (let row = free.pop(); row !== undefined; row = free.pop()) {
    open.delete(row)
    for (const next of row.behind) {
      const left = open.get(next)! - 1
      open.set(next, left)
      if (left === 0) free.push(next)
    }
  }
  for (const row of open.keys()) {
    problems.add({ line: row.line, column: 'wait_for' }, 'cycle', `"${row.id}" waits for itself, or for one that does`)
  }
}

/** Rows that belong together, in the order of the file. */
function groups(rows: readonly AgenticRow[]): AgenticRow[][] {
  const bySession = Map.groupBy(rows, (row) => row.session)
  const seen = new Set<AgenticRow>()
  const found: AgenticRow[][] = []
  for (const row of rows) {
    if (seen.has(row)) continue
    const group: AgenticRow[] = []
    const toVisit = [row]
    seen.add(row)
    for (let next = toVisit.pop(); next !== undefined; next = toVisit.pop()) {
      group.push(next)
      for (const other of [...next.before, ...next.behind, ...(bySession.get(next.session) ?? [])]) {
        if (seen.has(other)) continue
        seen.add(other)
        toVisit.push(other)
      }
      bySession.delete(next.session)
    }
    found.push(group.sort((a, b) => a.line - b.line))
  }
  return found
}

/** A group as a run: chains of rows become steps. */
function runOf(group: readonly AgenticRow[], blockTokens: number): WorkloadRun & { arrivalMs?: number } {
  const times = group.flatMap(({ atMs, before }) => (before.length === 0 && atMs !== undefined ? [atMs] : []))
  const arrivalMs = times.length === 0 ? undefined : Math.min(...times)
  const continues = (row: AgenticRow): boolean => row.before.length === 1 && row.before[0]!.behind.length === 1
  const heads = group.filter((row) => !continues(row))
  const stepOf = new Map<AgenticRow, string>()
  const steps = heads.map((head, i): WorkloadStep => {
    const name = heads.length === 1 ? sessionStep : `step${i + 1}`
    const turns: WorkloadTurn[] = []
    let previous: AgenticRow | undefined
    for (let row: AgenticRow | undefined = head; row !== undefined;) {
      stepOf.set(row, name)
      turns.push(turnOf(row, previous, arrivalMs ?? 0, blockTokens))
      const next: AgenticRow | undefined = row.behind.length === 1 ? row.behind[0] : undefined
      previous = row
      row = next !== undefined && continues(next) ? next : undefined
    }
    return { name, after: [], turns }
  })
  const withOrder = steps.map((step, i) => ({
    ...step,
    after: [...new Set(heads[i]!.before.map((row) => stepOf.get(row)!))],
  }))
  const run = { id: group[0]!.session, steps: withOrder }
  return arrivalMs === undefined ? run : { ...run, arrivalMs }
}

function turnOf(row: AgenticRow, previous: AgenticRow | undefined, startMs: number, blockTokens: number): WorkloadTurn {
  const common = previous === undefined ? 0 : commonBlocks(previous, row, blockTokens)
  // A row that waits for nothing begins at its time, also where it is not the first of its run.
  const lateMs = row.before.length === 0 ? Math.max(0, (row.atMs ?? startMs) - startMs) : 0
  return {
    shared: common * blockTokens,
    fresh: blockSpans(row, blockTokens, common),
    outputTokens: row.outputTokens,
    waitMs: row.waitMs + lateMs,
    waitFor: row.waitFor,
  }
}
