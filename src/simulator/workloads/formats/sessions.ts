// Sessions of coding agents as a table: session, turn, sub, t_s, in_tokens, out_tokens, reused_prefix_tokens, think_s,
// api_s (from the Claude Code traces of callanjfox/kv-cache-tester).
//
// `reused_prefix_tokens` of a turn are the first tokens of the turn before; what follows is new, also where it repeats
// the answer, because the trace does not say so. A sub-agent is a session of its own: when it began is not known.

import { sessionRun, type WorkloadRun, type WorkloadTurn } from '../workload.ts'
import { nameFrom, numberFrom, timeMsMax, tokensFrom } from './cells.ts'
import { TurnBudget, type WorkloadFormat } from './format.ts'
import { hasColumns, readTable, type Row } from './table.ts'
import type { FileProblems } from '../problems.ts'

const columns = {
  session: true,
  turn: true,
  sub: false,
  t_s: false,
  in_tokens: true,
  out_tokens: true,
  reused_prefix_tokens: true,
  think_s: false,
  api_s: false,
} as const
type Column = keyof typeof columns

interface Session {
  turns: WorkloadTurn[]
  turn: number
  /** Of the last turn. */
  inTokens: number
  outTokens: number
  startedMs: number | undefined
  tookMs: number
}

/** Sessions of coding agents. */
export const sessionsFormat: WorkloadFormat = {
  name: 'session CSV (session,turn,sub,t_s,in_tokens,out_tokens,reused_prefix_tokens,think_s,api_s)',
  begins: (line) => hasColumns(line, ['session']) || hasColumns(line, ['reused_prefix_tokens']),
  async read(lines, { problems }) {
    const budget = new TurnBudget(problems)
    const sessions = new Map<string, Session>()
    for await (const row of readTable(lines, columns, problems)) {
      if (!budget.take(row.line)) break
      readTurn(row, sessions, problems)
    }
    const runs = [...sessions].map(([id, { turns }]): WorkloadRun => sessionRun(id, turns))
    return { source: 'sessions of a coding agent (callanjfox/kv-cache-tester)', runs }
  },
}

function readTurn({ line, cells }: Row<Column>, sessions: Map<string, Session>, problems: FileProblems): void {
  const at = (column: Column): { line: number; column: Column } => ({ line, column })
  const name = nameFrom(cells.session, problems, at('session'))
  const turn = numberFrom(cells.turn, { problems, place: at('turn'), whole: true })
  const input = tokensFrom(cells.in_tokens, problems, at('in_tokens'))
  const output = tokensFrom(cells.out_tokens, problems, at('out_tokens'))
  const reused = tokensFrom(cells.reused_prefix_tokens, problems, at('reused_prefix_tokens'))
  const times = (['t_s', 'think_s', 'api_s'] as const).map((column) => {
    // A session's first turn has no gap before it, and some turns were not timed.
    const cell = cells[column] ?? ''
    return cell === '' ? null : numberFrom(cell, { problems, place: at(column), max: timeMsMax / 1_000 })
  })
  if (name === undefined || turn === undefined || input === undefined || output === undefined) return
  if (reused === undefined || times.includes(undefined)) return
  const [startedMs, thinkMs, apiMs] = times.map((seconds) =>
    typeof seconds === 'number' ? seconds * 1_000 : undefined,
  )

  const id = cells.sub === undefined || cells.sub === '' ? name : `${name}/${cells.sub}`
  const session = sessions.get(id)
  if (session !== undefined && turn <= session.turn) {
    problems.add(at('turn'), 'order', `is ${turn}, but turn ${session.turn} of session "${id}" came before`)
    return
  }
  if (reused > input) {
    const message = `is ${reused}, more than the ${input} tokens of the prompt`
    return problems.add(at('reused_prefix_tokens'), 'reuse', message)
  }
  const before = session === undefined ? Infinity : session.inTokens + session.outTokens
  if (reused > before) {
    const message = `is ${reused}, more than the ${before} tokens of the turn before and its answer`
    return problems.add(at('reused_prefix_tokens'), 'reuse', message)
  }

  // Engines compute and generate at least a token.
  const inTokens = Math.max(1, input)
  const outTokens = Math.max(1, output)
  const shared = Math.min(reused, inTokens - 1)
  const own = { stream: `${id}#${turn}`, from: 0, to: inTokens - shared }
  const inferredMs =
    session?.startedMs === undefined || startedMs === undefined ? 0 : startedMs - session.startedMs - session.tookMs
  const next: WorkloadTurn = {
    shared: session === undefined ? 0 : shared,
    // What a first turn reuses was cached before the session began: by others that begin alike.
    fresh: session === undefined && shared > 0 ? [{ stream: 'common', from: 0, to: shared }, own] : [own],
    outputTokens: outTokens,
    waitMs: session === undefined ? 0 : Math.max(0, thinkMs ?? inferredMs),
    waitFor: 'user-or-tool',
  }
  const turns = session?.turns ?? []
  turns.push(next)
  sessions.set(id, { turns, turn, inTokens, outTokens, startedMs, tookMs: apiMs ?? 0 })
}
