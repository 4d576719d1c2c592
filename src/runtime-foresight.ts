// What is known of prompts before their stages ask: for prewarming
//
// Owns: the known beginning of each prompt that is foreseen, the beginnings that prompts of one stage class have in
// common, and the prefills under way.
// Does not own: whether a prefill is worth it (memory manager), or the backend's slots: a prefill takes a free one
// without asking for it, is refused where none is or somebody waits, and gives way to the next request that comes.
// Invariants
//   F1. What is kept of a run is forgotten with it; heads are bounded.
//   F2. A prefill has the tools, salt and session of the request that it is for: its tokens are that prompt's.

import type { Foresight } from '../actors/stage-host.ts'
import { CancelledError, messageOf } from './errors.ts'
import type { ChatCall, ChatContext } from './engines/driver.ts'
import type { CacheAction } from './memory/actions.ts'
import type { Foreseen } from './memory/prewarmer.ts'
import type { PromptMeasure } from './prompts/conversation.ts'
import type { ChatRequest, ToolSpec, Usage } from './schema/chat.ts'
import type { Message } from './schema/message.ts'
import type { StageDefinition } from './workflow/definition.ts'

/** What came of a prefill: what the engine said, or why it did not. */
interface PrefillOutcome {
  usage?: Usage
  busy?: boolean
  message: string
}

interface ForesightInput {
  measure(messages: readonly Message[], tools: readonly ToolSpec[] | undefined): PromptMeasure | Promise<PromptMeasure>
  modelOf(backend: string): string
  isPool(name: string): boolean
  /** Starts a request, or says why the backend has no room for it. */
  chat(backend: string, request: ChatRequest, context: ChatContext): ChatCall | string
  foreseen(prompt: Foreseen): void
}

interface Head {
  backend: string
  model: string
  /** Messages of the last prompt, and how many of them, from the first, the one before had too. */
  messages: readonly Message[]
  common: number
}

/** Stage classes whose beginnings are kept. */
const headsMax = 1_024
/** Lower than any priority that a run can have. */
const lowestPriority = -1_000_000

/** Keeps what is known ahead, and carries out prefills. */
export class RuntimeForesight implements Foresight {
  readonly #input: ForesightInput
  /** By definition and stage, so that workflows of one name do not mix. */
  readonly #heads = new Map<string, Head>()
  readonly #known = new Map<string, Map<string, { request: ChatRequest; context: ChatContext }>>()
  readonly #calls = new Map<number, ChatCall>()

  constructor(input: ForesightInput) {
    this.#input = input
  }

  built(
    definitionId: string,
    stage: StageDefinition,
    backend: string,
    model: string,
    prompt: readonly Message[],
  ): void {
    const key = `${definitionId}\n${stage.name}`
    const before = this.#heads.get(key)
    let common = 0
    if (before !== undefined) {
      const most = Math.min(prompt.length, before.messages.length) - 1
      while (common < most && equal(prompt[common]!, before.messages[common]!)) common++
    }
    this.#heads.delete(key)
    this.#heads.set(key, { backend, model, messages: prompt, common })
    if (this.#heads.size > headsMax) this.#heads.delete(this.#heads.keys().next().value!)
  }

  next(
    run: { runId: string; tenant: string; definitionId: string },
    stage: StageDefinition,
    before: readonly Message[],
  ): void {
    const head = this.#heads.get(`${run.definitionId}\n${stage.name}`)
    const { mapping } = stage
    // Of a stage that names a pool it is known where it ran last.
    const place = mapping.kind === 'explicit' && !this.#input.isPool(mapping.backend) ? mapping : head
    if (place === undefined) return
    const { backend } = place
    const messages = before.length > 0 ? before : (head?.messages.slice(0, head.common) ?? [])
    if (messages.length === 0) return
    const model = stage.requirements.model ?? this.#input.modelOf(backend)
    const { runId, tenant } = run
    const request: ChatRequest = { model, messages, params: { ...stage.params, maxTokens: 1 } }
    if (stage.toolSpecs !== undefined) request.tools = stage.toolSpecs
    const context: ChatContext = {
      requestId: `${runId}/${stage.name}/ahead`,
      runId,
      sessionId: runId,
      priority: lowestPriority,
      ...(tenant !== 'default' && { salt: tenant }),
    }
    let known = this.#known.get(runId)
    if (known === undefined) this.#known.set(runId, (known = new Map()))
    known.set(`${stage.name}\n${backend}`, { request, context })
    const { name, stageClass } = stage
    const of = before.length > 0 ? 'run' : 'class'
    const measured = this.#input.measure(messages, stage.toolSpecs)
    const told = ({ tokens }: PromptMeasure): void =>
      this.#input.foreseen({ runId, stage: name, stageClass, backend, model, tokens, of })
    // A prompt that cannot be measured fails its own stage, later; nothing is foreseen of it.
    if (measured instanceof Promise) void measured.then(told, () => {})
    else told(measured)
  }

  /** Computes what is known of a stage's prompt. `ended` hears of it once, unless it is abandoned. */
  prefill(
    backend: string,
    { runId, stage }: Extract<CacheAction, { kind: 'prefill' }>,
    actionId: number,
    ended: (outcome: PrefillOutcome) => void,
  ): void {
    const known = this.#known.get(runId)?.get(`${stage}\n${backend}`)
    if (known === undefined) return ended({ message: 'nothing is known of the prompt any more' })
    const call = this.#input.chat(backend, known.request, known.context)
    if (typeof call === 'string') return ended({ busy: true, message: call })
    this.#calls.set(actionId, call)
    const over = (outcome: PrefillOutcome): void => {
      // Not asked for any more by whoever counts actions now.
      if (this.#calls.get(actionId) !== call) return
      this.#calls.delete(actionId)
      ended(outcome)
    }
    call.result.then(
      ({ usage }) => over({ usage, message: '' }),
      (error: unknown) => over({ message: messageOf(error) }),
    )
  }

  /** Stops a prefill. Does nothing if it is over. */
  stop(actionId: number, why: string): void {
    this.#calls.get(actionId)?.cancel(new CancelledError('sibling', why))
  }

  /** The memory manager was started again and counts its actions anew: what is under way is nobody's. */
  abandon(): void {
    const calls = [...this.#calls.values()]
    this.#calls.clear()
    for (const call of calls) call.cancel(new CancelledError('sibling', 'the memory manager was started again'))
  }

  /** A run is over. */
  forget(runId: string): void {
    this.#known.delete(runId)
  }
}

function equal(a: Message, b: Message): boolean {
  return a === b || (a.role === b.role && JSON.stringify(a) === JSON.stringify(b))
}
