// What actors say to each other, and where it goes.
//
// Every message is plain data that survives structuredClone, so that an actor may live on another thread. Functions
// (prompts, tools, mappers, policies) never travel: they are found by name on the side that owns them.

import type { ErrorFacts } from '../src/errors.ts'
import type { RequestView } from '../src/scheduling/request-view.ts'
import type { AdaptiveWindowSettings } from '../src/schema/backend.ts'
import type { ServedTurn } from '../src/schema/queue-pace.ts'
import type { Place } from '../src/mapping/place.ts'
import type { CacheOutcome } from '../src/memory/actions.ts'
import type { Foreseen } from '../src/memory/prewarmer.ts'
import type { Usage } from '../src/schema/chat.ts'
import type { CacheTransition, MappingFacts, Transition } from '../src/schema/transition.ts'

/** Where a message goes. */
export type Address =
  | { actor: 'run'; runId: string }
  | { actor: 'stage'; runId: string; stage: string }
  | { actor: 'backend'; name: string }
  | { actor: 'mapper' }
  | { actor: 'aside'; runId: string; requestId: string }
  | { actor: 'rerouter' }
  | { actor: 'memory' }
  | { actor: 'tool'; definitionId: string; stage: string; tool: string }

/** Address of a stage: where answers to its questions go. */
export type StageAddress = Extract<Address, { actor: 'stage' }>

/** Address of whoever asks a backend for a slot: a stage, or a side call. */
export type CallerAddress = Extract<Address, { actor: 'stage' | 'aside' }>

/** A turn asks for a slot. `arrivalMs` and `arrivalOrder` are the backend's to give. */
export interface BackendRequest {
  type: 'backend.request'
  request: Omit<RequestView, 'arrivalMs' | 'arrivalOrder'>
  replyTo: CallerAddress
  /** True for a turn that an engine failed before: it counts against the retry budget. */
  retry?: boolean
  /** True for a short call whose context nobody will come back to: it is not held for the KV window. */
  aside?: boolean
  /** Tokens that the answer may have at most, which money is set aside for; absent: `request.outputTokens`. */
  outputTokensMax?: number
  /** Backends that may serve it instead while it waits; absent: none. */
  among?: readonly string[]
}
/** A turn that waits is not wanted any more. */
export interface BackendWithdraw {
  type: 'backend.withdraw'
  requestId: string
}
/** A turn gives its slot back. */
export interface BackendRelease {
  type: 'backend.release'
  requestId: string
  /** `faulty`: the backend is to blame, its breaker counts it. `inconclusive`: cancelled, which says nothing. */
  verdict: 'ok' | 'faulty' | 'inconclusive'
  /** What a side call cost, dollars; absent where nobody can say. What a turn cost is in its transition. */
  costUsd?: number
  /** How the turn went; absent where it was not answered. */
  served?: ServedTurn
}
/** Requests that wait do better elsewhere. Those that do not wait any more stay. */
export interface BackendReroute {
  type: 'backend.reroute'
  moves: readonly { requestId: string; to: string; reason: string }[]
}
/** A tenant of whom requests are parked here has fewer in flight. */
export interface BackendTenantRoom {
  type: 'backend.tenantRoom'
  tenant: string
}
/** Change of a backend at work. Absent fields stay as they are. Requests that wait keep waiting. */
export interface BackendReconfigure {
  type: 'backend.reconfigure'
  windowRequests?: number
  queueCapacity?: number
  /** Name of a policy known to the runtime. */
  stagePolicy?: string
  /** Name of a policy known to the runtime. */
  requestPolicy?: string
}
/** Take nothing new, finish what runs; or go back to work. */
export interface BackendDrain {
  type: 'backend.drain' | 'backend.resume'
}
/** Its engine was replaced by another. Requests that wait keep waiting; those in flight say nothing of the new one. */
export interface BackendReplaced {
  type: 'backend.replaced'
  /** Bounds of the new one's window, where it finds its size. */
  adaptiveWindow?: AdaptiveWindowSettings
}
/** It is being removed: whatever waits, and whatever comes, goes elsewhere. */
export interface BackendRemove {
  type: 'backend.remove'
}
/** The memory manager was started again and knows of no held request: tell it of them. */
export interface BackendReadmit {
  type: 'backend.readmit'
}
/** Held requests have a place in the KV window: they go on to the sub-queues. */
export interface BackendAdmitted {
  type: 'backend.admitted'
  requestIds: string[]
}
/** What a backend actor hears. */
export type BackendMessage =
  | BackendAdmitted
  | BackendRequest
  | BackendWithdraw
  | BackendRelease
  | BackendReroute
  | BackendTenantRoom
  | BackendReconfigure
  | BackendReplaced
  | BackendRemove
  | BackendReadmit
  | BackendDrain

/** A stage asks where to run. */
export interface MapperMap {
  type: 'mapper.map'
  /** Which workflow, for the runtime: names need not be unique. */
  definitionId: string
  workflow: string
  stage: string
  tenant: string
  input: unknown
  results: Readonly<Record<string, unknown>>
  /** Dollars that the run has left; absent without a budget. */
  budgetUsd?: number
  replyTo: StageAddress
}
/** A stage does not want to know any more. */
export interface MapperCancel {
  type: 'mapper.cancel'
  replyTo: StageAddress
}
/** A request waits that may go elsewhere, or a backend where some wait has another health now. */
export interface RerouterWake {
  type: 'rerouter.wake'
}
/** What the rerouter hears. */
export type RerouterMessage = RerouterWake

/** What the mapper actor hears. */
export type MapperMessage = MapperMap | MapperCancel

/** A stage calls a tool. */
export interface ToolCallMessage {
  type: 'tool.call'
  callId: string
  /** JSON text as the model wrote it. */
  arguments: string
  replyTo: StageAddress
}
/** A stage does not want a tool's result any more. */
export interface ToolCancelMessage {
  type: 'tool.cancel'
  callId: string
  replyTo: StageAddress
}
/** What a tool actor hears. */
export type ToolMessage = ToolCallMessage | ToolCancelMessage

/** The transition feed, as the memory manager gets it. */
export interface MemoryTransition {
  type: 'memory.transition'
  transition: Transition
  /** The runtime clock's reading, ms: `transition.atMs` counts from the start of its run. */
  nowMs: number
}
/** A request asks for a place in a backend's KV window. Answered by `backend.admitted`, at once or later. */
export interface MemoryAdmit {
  type: 'memory.admit'
  backend: string
  request: {
    requestId: string
    runId: string
    promptTokens: number
    outputTokens: number
    /** Tokens of the prompt that are new since the run's last request there. */
    addedTokens: number
  }
}
/** A request that asked left without being served. */
export interface MemoryLeft {
  type: 'memory.left'
  backend: string
  runId: string
  requestId: string
}
/** A held request's time was up: the backend let it through. */
export interface MemoryForced {
  type: 'memory.forced'
  backend: string
  runId: string
  requestId: string
}
/** What came of an action at an engine. */
export interface MemoryActed {
  type: 'memory.acted'
  actionId: number
  outcome: CacheOutcome
}
/** Nothing is left in an engine's cache: it was replaced by another. */
export interface MemoryEmptied {
  type: 'memory.emptied'
  backend: string
}
/** What an engine says of its use. */
export interface MemoryUsage {
  type: 'memory.usage'
  actionId: number
  backend: string
  /** Share of the KV pool in use, 0..1; absent where the engine does not say. */
  usedFraction?: number
}
/** A stage is next, and the beginning of its prompt is known. */
export interface MemoryForeseen {
  type: 'memory.foreseen'
  prompt: Foreseen
}
/** A prefill is over. */
export interface MemoryPrefilled {
  type: 'memory.prefilled'
  actionId: number
  /** What the engine said; undefined if it was refused, failed or gave way. */
  usage?: Usage
  /** The backend had no slot for it. */
  busy?: boolean
  /** Why there is no usage. */
  message: string
}
/** A run is gone, whether or not it said so. */
export interface MemoryForget {
  type: 'memory.forget'
  runId: string
}
/** What the memory manager hears. */
export type MemoryMessage =
  | MemoryTransition
  | MemoryAdmit
  | MemoryLeft
  | MemoryForced
  | MemoryActed
  | MemoryUsage
  | MemoryEmptied
  | MemoryForeseen
  | MemoryPrefilled
  | MemoryForget

/** What a cache transition says before its run stamps it. */
export type CacheBody = Pick<CacheTransition, 'type' | 'reason' | 'backend' | 'policy' | 'tokens' | 'figures'>

/** The memory manager decided something about a run's context. */
export interface RunCache {
  type: 'run.cache'
  transition: CacheBody
}
/** What a workflow actor hears from other actors. */
export type RunMessage = RunCache

/** The mapper's answer. */
export interface StageMapped {
  type: 'stage.mapped'
  backend: string
  model: string
  reason: string
  facts: MappingFacts
  /** Replicas, the chosen one among them: the stage goes to the one that has most of its prompt, if that is sooner. */
  places?: readonly Place[]
}
/** The mapper found no place. */
export interface StageUnmapped {
  type: 'stage.unmapped'
  error: ErrorFacts
  /** What looking for one cost, dollars. */
  costUsd?: number
}
/** A slot is there. */
export interface StageGranted {
  type: 'stage.granted'
  requestId: string
}
/** A backend does not take the turn. */
export interface StageRejected {
  type: 'stage.rejected'
  requestId: string
  error: ErrorFacts
}
/** A tool ended. */
export interface StageToolResult {
  type: 'stage.toolResult'
  callId: string
  ok: boolean
  /** Text that goes back to the model. */
  content: string
  durationMs: number
}
/** What a stage actor hears from other actors. */
export type StageMessage = StageMapped | StageUnmapped | StageGranted | StageRejected | StageToolResult

/** Any message between actors. */
export type ActorMessage =
  | RunMessage
  | BackendMessage
  | MapperMessage
  | RerouterMessage
  | ToolMessage
  | MemoryMessage
  | StageMessage

/** Takes a message to its actor. Messages to actors that are gone are counted as dead letters. */
export type Post = (to: Address, message: ActorMessage) => void
