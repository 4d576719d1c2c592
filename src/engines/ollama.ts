// Ollama.
//
// Sources: Ollama's API docs and server source, v0.33 of August 2026.

import type { z } from 'zod'
import type { ChatRequest } from '../schema/chat.ts'
import { parseOptions } from '../schema/options.ts'
import type { BackendDefinition } from './backend-definition.ts'
import { readEngineError, statusError } from './engine-error.ts'
import { countField, objectOf, probeAs, textField, type JsonObject } from './fingerprint.ts'
import { failed, pause, type FlushResult, type KvControl } from './kv-control.ts'
import { declaredCapabilities, openAiDialect, type EngineAccess, type OpenAiDialect } from './openai-driver.ts'
import { checkHeaders, EngineFields } from './openai-options.ts'
import { wireBackend } from './wire-backend.ts'

const OllamaSettings = EngineFields.superRefine(checkHeaders)

/** Options of {@link ollama}. */
export type OllamaOptions = z.input<typeof OllamaSettings>

/** Milliseconds for a command. */
const commandTimeoutMs = 10_000

/** Milliseconds between two looks whether a model has gone. */
const unloadPollMs = 50

/** Milliseconds that an idle model may take to go when the caller does not wait. */
const unloadGraceMs = 500

/**
 * A backend behind Ollama. Set `OLLAMA_NUM_PARALLEL` to `windowRequests`, and `OLLAMA_CONTEXT_LENGTH` to what prompts
 * need: it cuts longer ones without a word.
 *
 * @throws {OptionsError} `ORLA_OPTIONS` with every problem of the options
 */
export function ollama(options: OllamaOptions): BackendDefinition {
  const fields = parseOptions(OllamaSettings, options, 'options of ollama()')
  return wireBackend({ ...fields, maxTokensField: 'max_tokens', promptCacheKey: false }, () => ollamaDialect)
}

const ollamaDialect: OpenAiDialect = {
  ...openAiDialect,
  engine: 'ollama',
  capabilities: (settings) => ({
    ...declaredCapabilities('ollama', settings),
    cachedTokens: 'never',
    sharedPrefix: false,
    kv: { flushAll: 'best-effort', releaseSession: 'none', isolate: 'none', retain: 'none' },
  }),
  extras: () => ({ fields: {} }),
  reasoningFields: ['reasoning', 'reasoning_content'],
  prepare,
  async probe(access, declared, timeoutMs) {
    const { http, settings } = access
    const [{ seen, capabilities }, ps] = await Promise.all([
      probeAs('ollama', access, declared, timeoutMs),
      http.send({ path: `${http.url.rootPath}/api/ps`, timeoutMs }).catch(() => undefined),
    ])
    if (seen.engine !== 'ollama') return capabilities
    const { models = [] } = capabilities
    // `qwen3` and `qwen3:latest` are one model, and only the second is listed.
    const short = models.filter((name) => name.endsWith(':latest')).map((name) => name.slice(0, -':latest'.length))
    const length = countField(loaded(ps?.value, settings.model) ?? {}, 'context_length')
    if (declared.contextLength === undefined && length !== undefined) capabilities.contextLength = length
    const notes = [
      ...(capabilities.notes ?? []),
      'prompts beyond its context length are cut without a word: set OLLAMA_CONTEXT_LENGTH',
      'it ignores tool_choice, so a tool cannot be required',
      'it reports no cached tokens, and empties its cache only by unloading the model',
    ]
    return { ...capabilities, notes, models: [...models, ...short] }
  },
  kv: ollamaKv,
}

/** Ollama ignores tool_choice and template arguments: what they mean is said in other ways, as far as there are any. */
function prepare(request: ChatRequest): ChatRequest {
  const { toolChoice, tools, params, ...rest } = request
  const { chatTemplateArguments, reasoningEffort, ...others } = params
  const effort = reasoningEffort ?? (chatTemplateArguments?.['enable_thinking'] === false ? 'none' : undefined)
  return {
    ...rest,
    // The model calls tools that it sees, whatever it is told: without a choice it must not see them.
    ...(tools !== undefined && toolChoice !== 'none' && { tools }),
    params: { ...others, ...(effort !== undefined && { reasoningEffort: effort === 'minimal' ? 'low' : effort }) },
  }
}

/** What `/api/ps` says of a model that is loaded. */
function loaded(ps: unknown, model: string): JsonObject | undefined {
  const { models } = objectOf(ps)
  const list = Array.isArray(models) ? (models as unknown[]).map(objectOf) : []
  return list.find((entry) => [model, `${model}:latest`].includes(textField(entry, 'name') ?? ''))
}

function ollamaKv({ http, clock, settings }: EngineAccess): Omit<KvControl, 'prefill'> {
  const { rootPath } = http.url
  const { model } = settings

  const unload = async (waitIdleMs: number, signal: AbortSignal | undefined): Promise<FlushResult> => {
    const more = { timeoutMs: commandTimeoutMs, ...(signal && { signal }) }
    const body = { model, keep_alive: 0, stream: false }
    const reply = await http.send({ method: 'POST', path: `${rootPath}/api/generate`, body, ...more })
    if (reply.status !== 200) throw statusError(http.scope, reply.status, readEngineError(reply.value), reply.text)
    const untilMs = clock.nowMs() + Math.max(waitIdleMs, unloadGraceMs)
    for (;;) {
      const ps = await http.send({ path: `${rootPath}/api/ps`, ...more })
      if (ps.status === 200 && loaded(ps.value, model) === undefined) return { outcome: 'flushed', scope: 'all' }
      if (clock.nowMs() + unloadPollMs > untilMs) break
      await pause(clock, unloadPollMs, signal)
    }
    return {
      outcome: 'hinted',
      reason: 'the model unloads, and its cache goes with it, when the last request has ended',
    }
  }

  return {
    flushAll: ({ waitIdleMs = 0, signal } = {}) => unload(waitIdleMs, signal).catch(failed),
    endSession: () => Promise.resolve({ outcome: 'unsupported', reason: 'Ollama knows no sessions' }),
    // It tells which models are loaded, and nothing of requests or cache.
    usage: () => Promise.resolve({}),
  }
}
