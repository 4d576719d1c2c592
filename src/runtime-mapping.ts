// What mappers know of the runtime, and may do in it
//
// Owns: side calls.
// Does not own: which mapper decides (mapper actor), backends, the KV ledger.

import { SideCalls, type SideCallsInput } from '../actors/side-calls.ts'
import type { MappingPrompt } from './mapping/mapper.ts'
import type { KvLedger } from './memory/ledger.ts'
import { prefixMarks } from './prompts/chain.ts'
import type { CompiledPrompt } from './prompts/template.ts'
import type { Message } from './schema/message.ts'
import { checkPrompt } from './workflow/built-prompt.ts'
import type { StageContext, StageDefinition } from './workflow/definition.ts'

interface MappingInput extends SideCallsInput {
  ledger(): KvLedger
  modelOf(backend: string): string
  render(prompt: CompiledPrompt, context: StageContext): readonly Message[] | Promise<readonly Message[]>
}

/** Facts and calls for mappers. */
export class RuntimeMapping {
  readonly calls: SideCalls
  readonly #input: MappingInput

  constructor(input: MappingInput) {
    this.#input = input
    this.calls = new SideCalls(input)
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
