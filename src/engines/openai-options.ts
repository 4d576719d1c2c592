// Options of backends that speak the OpenAI wire.

import { z } from 'zod'
import { BackendSettings } from '../schema/backend.ts'
import { parseEngineUrl } from './engine-url.ts'

/** Headers that the driver writes itself. */
const managedHeaders = new Set([
  'accept',
  'accept-encoding',
  'connection',
  'content-encoding',
  'content-length',
  'content-type',
  'expect',
  'host',
  'keep-alive',
  'transfer-encoding',
  'upgrade',
])

const EngineUrlText = z.string().superRefine((text, context) => {
  const parsed = parseEngineUrl(text)
  if (parsed.ok) return
  for (const problem of parsed.problems) context.addIssue({ code: 'custom', message: problem })
})

const HeaderName = z
  .string()
  .regex(/^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}$/, 'is not the name of an HTTP header')
  .refine((name) => !managedHeaders.has(name.toLowerCase()), 'is a header that the driver writes itself: remove it')

const HeaderValue = z
  .string()
  .max(8_192)
  .regex(/^[\t\x20-\x7e]*$/, 'holds characters that no HTTP header can carry')

const OpenAiFields = BackendSettings.extend({
  /** Where the engine is: `http://localhost:8000`, with or without `/v1`. */
  url: EngineUrlText,
  /** Name of the environment variable that holds the API key. The key itself is read when the runtime connects. */
  apiKeyEnv: z
    .string()
    .regex(/^[A-Za-z_][A-Za-z0-9_]*$/, 'must be the name of an environment variable, never the key itself')
    .optional(),
  /** Headers sent with every request. Their values never appear in errors. */
  headers: z.record(HeaderName, HeaderValue).default({}),
  /** Sockets to the engine; `windowRequests` when absent. */
  connections: z.int().min(1).max(100_000).optional(),
  /** How the bound of an answer is spelled. OpenAI's reasoning models want `max_completion_tokens`. */
  maxTokensField: z.enum(['max_tokens', 'max_completion_tokens']).default('max_tokens'),
  /** Send the run's id as `prompt_cache_key`, which OpenAI routes by. Strict gateways refuse fields they do not know. */
  promptCacheKey: z.boolean().default(false),
})

/** Options of engines of one's own: the address, without what only clouds need. */
export const EngineFields = OpenAiFields.omit({ maxTokensField: true, promptCacheKey: true })

/** The rules between options, for {@link EngineFields} with an engine's own options added. */
export function checkHeaders(
  settings: { headers: Record<string, string>; apiKeyEnv?: string | undefined },
  context: z.core.$RefinementCtx,
): void {
  const authorization = Object.keys(settings.headers).some((name) => name.toLowerCase() === 'authorization')
  if (authorization && settings.apiKeyEnv !== undefined) {
    context.addIssue({
      code: 'custom',
      path: ['headers', 'authorization'],
      message: 'is also written for apiKeyEnv: give one of the two',
    })
  }
}

/** Options of an OpenAI-compatible backend, as the driver sees them. */
export const OpenAiSettings = OpenAiFields.superRefine(checkHeaders)
/** Options of an OpenAI-compatible backend, complete. */
export type OpenAiSettings = z.infer<typeof OpenAiSettings>
/** Options of an OpenAI-compatible backend as a user writes them. */
export type OpenAiOptions = z.input<typeof OpenAiSettings>
