// NVIDIA Dynamo: the OpenAI wire, with hints for its router and its workers.
//
// Sources: Dynamo docs v1.1 to v1.6, "Agent hints" and "NVIDIA request extensions (nvext)".

import { z } from 'zod'
import { parseOptions } from '../schema/options.ts'
import type { BackendDefinition } from './backend-definition.ts'
import { cachedTokensMemory } from './cached-tokens.ts'
import { declaredCapabilities, openAiDialect, type OpenAiDialect } from './openai-driver.ts'
import { checkHeaders, EngineFields } from './openai-options.ts'
import { wireBackend } from './wire-backend.ts'

const DynamoSettings = EngineFields.extend({
  /** Ask Dynamo to compute the next turn's prefix after each answer. */
  speculativePrefill: z.boolean().default(false),
}).superRefine(checkHeaders)

/** Options of {@link dynamo}. */
export type DynamoOptions = z.input<typeof DynamoSettings>

/**
 * A backend behind a Dynamo frontend: priorities, output lengths and sessions go to its router as hints.
 *
 * @throws {OptionsError} `ORLA_OPTIONS` with every problem of the options
 */
export function dynamo(options: DynamoOptions): BackendDefinition {
  const { speculativePrefill, ...fields } = parseOptions(DynamoSettings, options, 'options of dynamo()')
  return wireBackend({ ...fields, maxTokensField: 'max_tokens', promptCacheKey: false }, () =>
    dynamoDialect(speculativePrefill),
  )
}

function dynamoDialect(speculativePrefill: boolean): OpenAiDialect {
  const cached = cachedTokensMemory(false)
  return {
    ...openAiDialect,
    engine: 'dynamo',
    capabilities: (settings) => ({
      ...declaredCapabilities('dynamo', settings),
      // Higher is sooner, whatever the workers are: Dynamo turns the sign for them.
      priority: 'high-first',
      kv: { flushAll: 'none', releaseSession: 'none', isolate: 'best-effort', retain: 'none' },
    }),
    extras({ params }, { priority = 0, salt, sessionId }) {
      const hints: Record<string, unknown> = {}
      if (priority !== 0) hints['priority'] = Math.round(priority)
      // A bound is no forecast; a length that is forced is.
      if (params.ignoreEos === true && params.maxTokens !== undefined) hints['osl'] = params.maxTokens
      if (speculativePrefill) hints['speculative_prefill'] = true
      const nvext: Record<string, unknown> = Object.keys(hints).length > 0 ? { agent_hints: hints } : {}
      if (salt !== undefined && salt !== '') nvext['cache_salt'] = salt
      return {
        fields: Object.keys(nvext).length > 0 ? { nvext } : {},
        ...(sessionId !== undefined && { headers: { 'x-dynamo-session-id': headerText(sessionId) } }),
      }
    },
    completeUsage: cached.complete,
  }
}

/** Text that a header can carry. */
function headerText(text: string): string {
  return text.replaceAll(/[^\x21-\x7e]/g, '_').slice(0, 256)
}
