// What mappers know of the runtime, and may do in it
//
// Owns: the speeds of backends, and side calls.
// Does not own: which mapper decides (mapper actor), backends, the KV ledger.

import { SideCalls, type SideCallsInput } from '../actors/side-calls.ts'
import type { BackendView, MappingPrompt } from './mapping/mapper.ts'
import { placesOf, type Place } from './mapping/place.ts'
import type { KvLedger } from './memory/ledger.ts'
import { BackendSpeeds } from './prediction/backend-speed.ts'
import { prefixMarks } from './prompts/chain.ts'
import type { CompiledPrompt } from './prompts/template.ts'
import type { Queue } from './scheduling/reroute.ts'
import type { Message } from './schema/message.ts'
import type { Transition } from './schema/transition.ts'
import { checkPrompt } from './workflow/built-prompt.ts'
import type { StageContext, StageDefinition } from './workflow/definition.ts'

interface MappingInput extends SideCallsInput {
  ledger(): KvLedger
  modelOf(backend: string): string
  render(prompt: CompiledPrompt, context: StageContext): readonly Message[] | Promise<readonly Message[]>
  views(): BackendView[]
  /** Health and pace of a backend; undefined if there is none. */
  paceOf(backend: string): Required<Pick<BackendView, 'health' | 'pace'>> | undefined
}

/** Facts and calls for mappers. */
export class RuntimeMapping {
  readonly calls: SideCalls
  readonly #input: MappingInput
  readonly #speeds = new BackendSpeeds()

  constructor(input: MappingInput) {
    this.#input = input
    this.calls = new SideCalls(input)
  }

  /** Backends as mappers see them. */
  views(): BackendView[] {
    const views = this.#input.views()
    for (const view of views) {
      const speed = this.#speeds.of(view.name)
      if (speed !== undefined) view.speed = speed
    }
    return views
  }

  /** Replicas as they stand. */
  places(backends: readonly string[]): Place[] {
    const facts = backends.flatMap((name) => {
      const found = this.#input.paceOf(name)
      const speed = this.#speeds.of(name)
      return found === undefined ? [] : [{ name, ...found, ...(speed !== undefined && { speed }) }]
    })
    return placesOf(facts, this.#input.clock.nowMs())
  }

  /** Queues with what a token of a prompt takes at each engine. */
  queues(queues: Queue[]): Queue[] {
    return queues.map((queue) => {
      const speed = this.#speeds.of(queue.name)
      return speed === undefined ? queue : { ...queue, msPerPromptToken: speed.msPerPromptToken }
    })
  }

  /** Learns from what runs do. */
  heard(transition: Transition): void {
    if (transition.type !== 'stage.released' || transition.outcome !== 'ok') return
    const { backend, usage, durationMs } = transition
    const { promptTokens, cachedTokens = 0, completionTokens } = usage
    if (promptTokens === undefined || completionTokens === undefined) return
    this.#speeds.answered(backend, promptTokens - cachedTokens, completionTokens, durationMs)
  }

  /** A backend has another engine, or is gone. */
  replaced(backend: string): void {
    this.#speeds.forget(backend)
  }

  /** The first prompt of a stage. */
  async promptOf(stage: StageDefinition, runId: string, context: StageContext): Promise<MappingPrompt> {
    const messages = await this.#build(stage, context)
    const { tokens, chain } = await this.#input.measure(messages, stage.toolSpecs)
    const marks = prefixMarks(chain)
    // What a conversation goes on from is where its run last was: the longest of its contexts, by what engines said.
    const ledger = (): KvLedger => this.#input.ledger()
    const carried =
      stage.context === 'append'
        ? Math.max(
            0,
            ...ledger()
              .ofRun(runId)
              .map((entry) => entry.residentTokens),
          )
        : 0
    return {
      messages,
      tokens: carried + tokens,
      cachedTokens: (backend) => {
        const model = stage.requirements.model ?? this.#input.modelOf(backend)
        const own = carried === 0 ? 0 : (ledger().entry(runId, backend, model)?.residentTokens ?? 0)
        return Math.max(own, Math.min(tokens, ledger().sharedTokens(backend, marks)))
      },
    }
  }

  async #build({ prompt, script, name }: StageDefinition, context: StageContext): Promise<readonly Message[]> {
    if (script !== undefined) return script(context, 1)?.messages ?? []
    if (prompt === undefined) return []
    return typeof prompt === 'function' ? checkPrompt(prompt(context), name) : this.#input.render(prompt, context)
  }
}
