// What the terminal shows, as data, reduced from events
//
// Owns: the meaning of events for somebody who watches one run.
// Does not own: how it looks (render), or where it goes.
// Invariants
//   V1. `reduce` is pure: a state and an event give a state; the old one stays as it was.
//   V2. Every text of a state is sanitized, and every list and text of it is bounded.
//   V3. A stage holds at most one place at a backend, waiting or in flight; one that is settled holds none.

import type { RunEvent, RunState, StageState, Transition, Workflow } from '../../index.ts'
import { describe, type LogEntry } from './describe.ts'
import { oneLine, sanitize } from './sanitize.ts'

/** What is known of a stage before it runs. */
export interface StagePlan {
  name: string
  after: readonly string[]
  /** The backend that the stage names; null where a mapper decides. */
  backend: string | null
  tools: readonly string[]
}

/** What is known of a backend before anything runs. */
export interface BackendPlan {
  name: string
  engine: string
  model: string
  windowRequests: number
}

/** Everything that is known before a run begins. */
export interface RunPlan {
  workflow: string
  /** The input, as text. */
  ticket: string
  /** What this showing is about. */
  note?: string
  stages: readonly StagePlan[]
  backends: readonly BackendPlan[]
}

/** One stage as it is shown. Null means: not known (yet), which is not zero. */
export interface StageView extends StagePlan {
  state: StageState
  model: string | null
  /** Number of the current or last turn; 0 before the first. */
  turn: number
  queueWaitMs: number
  ttftMs: number | null
  promptTokens: number | null
  cachedTokens: number | null
  completionTokens: number | null
  /** Since when the current turn's answer arrives; null between turns. */
  firstTokenAtMs: number | null
  /** Pieces of the current turn's answer so far; about one a token. */
  pieces: number
  /** Tokens and time of the turns that are over, from their first tokens on. */
  decodedTokens: number
  decodeMs: number
  /** End of what the model says now, sanitized. */
  text: string
  startedAtMs: number | null
  endedAtMs: number | null
}

/** One backend as it is shown: stages that wait there, stages that hold a slot, and what the run has in its cache. */
export interface BackendView extends BackendPlan {
  waiting: readonly string[]
  inFlight: readonly string[]
  /** Tokens of the run's context in the KV cache there, as far as the runtime knows. */
  residentTokens: number
  /** What the memory manager decided last about it, and why; undefined where it leaves all to the engine. */
  cacheNote: string | undefined
}

/** One run as it is shown. */
export interface ViewState {
  workflow: string
  ticket: string
  note: string | undefined
  runId: string | undefined
  state: RunState
  /** Ms since the run started, of the latest event. */
  atMs: number
  stages: readonly StageView[]
  backends: readonly BackendView[]
  /** What happened, the latest last. */
  log: readonly LogEntry[]
}

/** Entries of the log that are kept: more than any screen shows. */
const logEntriesMax = 200
/** Characters of a running answer that are kept: its last lines are shown. */
const textCharsMax = 2_000
/** Characters of a ticket that are kept. */
const ticketCharsMax = 4_000

/** What is known of a workflow's stages before they run. */
export function planOf(workflow: Workflow): StagePlan[] {
  const { stages } = workflow.definition
  return stages.map(({ name, after, mapping, tools }) => ({
    name,
    after: after.map((index) => stages[index]!.name),
    backend: mapping.kind === 'explicit' ? mapping.backend : null,
    tools: [...tools.keys()],
  }))
}

/** What is shown before the first event. */
export function initialView(plan: RunPlan): ViewState {
  return {
    workflow: oneLine(plan.workflow),
    ticket: sanitize(plan.ticket.slice(0, ticketCharsMax)),
    note: plan.note,
    runId: undefined,
    state: 'pending',
    atMs: 0,
    stages: plan.stages.map((stage) => ({
      ...stage,
      state: 'pending',
      model: null,
      turn: 0,
      queueWaitMs: 0,
      ttftMs: null,
      promptTokens: null,
      cachedTokens: null,
      completionTokens: null,
      firstTokenAtMs: null,
      pieces: 0,
      decodedTokens: 0,
      decodeMs: 0,
      text: '',
      startedAtMs: null,
      endedAtMs: null,
    })),
    backends: plan.backends.map(({ name, engine, model, windowRequests }) => ({
      name,
      engine: oneLine(engine),
      model: oneLine(model),
      windowRequests,
      waiting: [],
      inFlight: [],
      residentTokens: 0,
      cacheNote: undefined,
    })),
    log: [],
  }
}

/** The state after `event`. */
export function reduce(state: ViewState, event: RunEvent): ViewState {
  const atMs = Math.max(state.atMs, event.atMs)
  if (event.type === 'events.dropped') return { ...state, atMs }
  if (event.type === 'stage.token') {
    const { channel, text } = event
    return withStage({ ...state, atMs }, event.stage, (stage) => ({
      ...stage,
      pieces: stage.pieces + 1,
      // Arguments of tool calls are shown when the tool is called.
      text: channel === 'tool' ? stage.text : (stage.text + sanitize(text)).slice(-textCharsMax),
    }))
  }
  const log = [...state.log, ...describe(event, state)].slice(-logEntriesMax)
  const next: ViewState = { ...state, atMs, log }
  if (!('stage' in event)) return withCache({ ...next, runId: event.runId, state: event.to }, event)
  return withBackends(
    withStage(next, event.stage, (stage) => afterEvent({ ...stage, state: event.to }, event)),
    event,
  )
}

type StageEvent = Extract<RunEvent, { stage: string; seq: number }>

function afterEvent(stage: StageView, event: StageEvent): StageView {
  switch (event.type) {
    case 'stage.started':
      return { ...stage, startedAtMs: event.atMs }
    case 'stage.mapped':
      return { ...stage, backend: event.backend, model: oneLine(event.model) }
    case 'stage.queued':
      return { ...stage, turn: event.turn, text: '', pieces: 0, firstTokenAtMs: null }
    case 'stage.granted':
      return { ...stage, queueWaitMs: stage.queueWaitMs + event.queueWaitMs }
    case 'stage.firstToken':
      return { ...stage, ttftMs: stage.ttftMs ?? event.ttftMs, firstTokenAtMs: event.atMs }
    case 'stage.released': {
      const { promptTokens, cachedTokens, completionTokens } = event.usage
      const timed = stage.firstTokenAtMs !== null && completionTokens !== undefined
      return {
        ...stage,
        promptTokens: add(stage.promptTokens, promptTokens),
        cachedTokens: add(stage.cachedTokens, cachedTokens),
        completionTokens: add(stage.completionTokens, completionTokens),
        decodedTokens: stage.decodedTokens + (timed ? completionTokens : 0),
        decodeMs: stage.decodeMs + (timed ? event.atMs - stage.firstTokenAtMs! : 0),
        firstTokenAtMs: null,
        pieces: 0,
        text: '',
      }
    }
    case 'stage.completed':
    case 'stage.failed':
    case 'stage.skipped':
    case 'stage.cancelled':
      return { ...stage, endedAtMs: event.atMs, firstTokenAtMs: null, text: '' }
    default:
      return stage
  }
}

/** What the memory manager decided about the run's context at a backend. */
function withCache(state: ViewState, event: Exclude<Transition, { stage: string }>): ViewState {
  if (!('policy' in event)) return state
  const { type, backend, reason } = event
  const isGone = type === 'cache.released' || type === 'cache.flushed'
  const cacheNote = `${type.slice('cache.'.length)}: ${oneLine(reason)}`
  const backends = state.backends.map((each) =>
    each.name === backend ? { ...each, cacheNote, residentTokens: isGone ? 0 : each.residentTokens } : each,
  )
  return { ...state, backends }
}

/** Where a stage stands at the backends follows from its state alone; what it leaves in a cache, from its usage. */
function withBackends(state: ViewState, event: StageEvent): ViewState {
  const { stage, to } = event
  const at = 'backend' in event ? event.backend : undefined
  const without = (names: readonly string[]): readonly string[] =>
    names.includes(stage) ? names.filter((name) => name !== stage) : names
  const backends = state.backends.map((backend) => {
    const waiting = without(backend.waiting)
    const inFlight = without(backend.inFlight)
    if (backend.name !== at) return { ...backend, waiting, inFlight }
    if (event.type === 'stage.released' && event.usage.promptTokens !== undefined) {
      const residentTokens = event.usage.promptTokens + (event.usage.completionTokens ?? 0)
      return { ...backend, waiting, inFlight, residentTokens }
    }
    if (to === 'queued') return { ...backend, waiting: [...waiting, stage], inFlight }
    if (to === 'inferring') return { ...backend, waiting, inFlight: [...inFlight, stage] }
    return { ...backend, waiting, inFlight }
  })
  return { ...state, backends }
}

function withStage(state: ViewState, name: string, change: (stage: StageView) => StageView): ViewState {
  return { ...state, stages: state.stages.map((stage) => (stage.name === name ? change(stage) : stage)) }
}

function add(total: number | null, more: number | undefined): number | null {
  return more === undefined ? total : (total ?? 0) + more
}

/** Tokens a second of a stage, over all its turns and the one under way; null before there is anything to measure. */
export function tokensPerSecond(stage: StageView, nowMs: number): number | null {
  let tokens = stage.decodedTokens
  let ms = stage.decodeMs
  if (stage.firstTokenAtMs !== null && stage.pieces > 1) {
    tokens += stage.pieces
    ms += nowMs - stage.firstTokenAtMs
  }
  return tokens > 1 && ms > 0 ? (tokens * 1000) / ms : null
}
