// Mapper actor
//
// Owns: the mappers of the workflows that have any, found by workflow and stage.
// Does not own: the state of backends (it asks for their views when a stage is mapped), explicit mappings (checked
// before the run began, they need no question).
// In:  mapper.map   Out: stage.mapped, stage.unmapped
// Invariants
//   M1. Every question gets exactly one answer, whatever a mapper does.
//   M2. At most `mappingsPendingMax` questions are open at once; the next is refused, retryable.
//   M3. A decision names a backend that exists and can serve the stage; any other answer is an error, not a guess.

import { MappingError, messageOf, OrlaError, toOrlaError } from '../src/errors.ts'
import { limits } from '../src/limits.ts'
import type { BackendView, MappingDecision } from '../src/mapping/mapper.ts'
import { verifyMapping } from '../src/mapping/verify.ts'
import type { StageDefinition } from '../src/workflow/definition.ts'
import { stateLogic, type ActorState } from './logic.ts'
import type { MapperMap, MapperMessage, Post } from './messages.ts'

/** What the mapper actor is made with. */
export interface MapperInput {
  stageOf(definitionId: string, stage: string): StageDefinition
  backends(): readonly BackendView[]
  post: Post
}

/** State of the mapper actor. */
export class MapperState implements ActorState<MapperMessage> {
  readonly #input: MapperInput
  #pending = 0

  constructor(input: MapperInput) {
    this.#input = input
  }

  handle(message: MapperMessage): void {
    if (this.#pending < limits.mappingsPendingMax) return void this.#map(message)
    const what = `${this.#pending} stages wait for their mappers already; wait for some, or answer faster`
    const details = { mappingsPendingMax: limits.mappingsPendingMax }
    this.refuse(new OrlaError('ORLA_LIMIT', what, { retryable: true, details }), message)
  }

  /** A message could not be handled: the stage that asked is told, like of any failed mapping. */
  refuse(error: unknown, message: MapperMessage): void {
    const facts = toOrlaError(error, 'ORLA_MAPPING_FAILED', `mapper of stage "${message.stage}" failed`).toJSON()
    this.#input.post(message.replyTo, { type: 'stage.unmapped', error: facts })
  }

  async #map(message: MapperMessage): Promise<void> {
    this.#pending++
    try {
      const stage = this.#input.stageOf(message.definitionId, message.stage)
      const decision = await decide(this.#input, message, stage)
      const backend = accept(decision, stage, this.#input.backends())
      const model = decision.model ?? stage.requirements.model ?? backend.model
      const reason = typeof decision.reason === 'string' ? decision.reason : 'the mapper gave no reason'
      this.#input.post(message.replyTo, { type: 'stage.mapped', backend: backend.name, model, reason })
    } catch (error) {
      this.refuse(error, message)
    } finally {
      this.#pending--
    }
  }
}

async function decide(input: MapperInput, message: MapperMap, stage: StageDefinition): Promise<MappingDecision> {
  if (stage.mapping.kind === 'explicit') return { backend: stage.mapping.backend, reason: 'explicit' }
  try {
    return await stage.mapping.mapper({
      workflow: message.workflow,
      stage: message.stage,
      input: message.input,
      results: message.results,
      requirements: stage.requirements,
      backends: input.backends(),
    })
  } catch (error) {
    const path = `stages.${stage.name}.mapping`
    const issue = { path, code: 'mapper_threw', message: messageOf(error) }
    throw new MappingError('ORLA_MAPPING_FAILED', `the mapper of stage "${stage.name}" threw`, [issue], error)
  }
}

function accept(decision: MappingDecision, stage: StageDefinition, backends: readonly BackendView[]): BackendView {
  const path = `stages.${stage.name}.mapping`
  // A mapper is user code: what it returns is checked like any input.
  const name = (decision as MappingDecision | null | undefined)?.backend
  const backend = backends.find((view) => view.name === name)
  if (backend === undefined) {
    const known = backends.map((view) => view.name).join(', ')
    const chosen = typeof name === 'string' ? JSON.stringify(name) : messageOf(name)
    const message = `the mapper chose ${chosen}; there are: ${known}`
    throw new MappingError('ORLA_MAPPING_FAILED', `stage "${stage.name}" cannot be mapped`, [
      { path, code: 'unknown_backend', message },
    ])
  }
  if (decision.model !== undefined && typeof decision.model !== 'string') {
    const message = `the mapper chose the model ${messageOf(decision.model)}, which is no name`
    throw new MappingError('ORLA_MAPPING_FAILED', `stage "${stage.name}" cannot be mapped`, [
      { path, code: 'invalid_model', message },
    ])
  }
  const requirements =
    decision.model === undefined ? stage.requirements : { ...stage.requirements, model: decision.model }
  const issues = verifyMapping(requirements, backend, path)
  if (issues.length > 0) {
    throw new MappingError('ORLA_MAPPING_FAILED', `stage "${stage.name}" cannot run on "${backend.name}"`, issues)
  }
  return backend
}

/** Logic of the mapper actor. */
export const mapperLogic = stateLogic<MapperState, MapperMessage, MapperInput>(
  (input) => new MapperState(input),
  (state, error, message) => state.refuse(error, message),
)
