// `GET /models`: what an engine serves.

import type { Capabilities } from '../schema/capabilities.ts'
import { first, protocolError, redirectError, statusError } from './engine-error.ts'
import type { EngineErrorFacts, ErrorScope } from './engine-error.ts'
import type { JsonReply } from './http.ts'

/** Models listed by a probe. Gateways serve some hundreds. */
const modelsMax = 10_000

/** One model as an engine lists it. */
export interface ModelCard {
  id: string
  ownedBy?: string
  /** Tokens of prompt and answer together. */
  contextLength?: number
}

/** The cards of a list of models; undefined if `value` is none. */
export function modelCards(value: unknown): ModelCard[] | undefined {
  const list = typeof value === 'object' && value !== null ? (value as { data?: unknown }).data : undefined
  if (!Array.isArray(list)) return undefined
  const cards: ModelCard[] = []
  for (const raw of (list as unknown[]).slice(0, modelsMax)) {
    if (typeof raw !== 'object' || raw === null) continue
    const { id, owned_by: ownedBy, max_model_len: length, meta } = raw as Record<string, unknown>
    if (typeof id !== 'string' || id === '') continue
    const card: ModelCard = { id }
    if (typeof ownedBy === 'string') card.ownedBy = ownedBy
    // llama-server tells the length of a slot in `meta`.
    const contextLength = tokens(length) ?? tokens((meta as { n_ctx?: unknown } | null | undefined)?.n_ctx)
    if (contextLength !== undefined) card.contextLength = contextLength
    cards.push(card)
  }
  return cards
}

function tokens(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isSafeInteger(value) && value > 0 ? value : undefined
}

/**
 * Adds what `GET /models` said. An engine without it (404, 405, 501) is ready, its models unknown.
 *
 * @throws {BackendError} `ORLA_BACKEND_HTTP`, `ORLA_BACKEND_PROTOCOL` where the answer is not a list of models
 */
export function withModels(
  scope: ErrorScope,
  settings: { model: string },
  declared: Capabilities,
  reply: JsonReply,
  readError: (body: unknown) => EngineErrorFacts | undefined,
): Capabilities {
  const { status } = reply
  if (status === 404 || status === 405 || status === 501) return declared
  if (status >= 300 && status < 400) throw redirectError(scope, status, first(reply.headers['location']))
  if (status !== 200) throw statusError(scope, status, readError(reply.value), reply.text)
  const cards = modelCards(reply.value)
  if (cards === undefined) {
    throw protocolError(scope, `${reply.path} answered 200, but not with a list of models`)
  }
  const found: Capabilities = { ...declared, models: cards.map(({ id }) => id) }
  const card = cards.find(({ id }) => id === settings.model) ?? (cards.length === 1 ? cards[0] : undefined)
  if (declared.contextLength === undefined && card?.contextLength !== undefined) {
    found.contextLength = card.contextLength
  }
  return found
}
