// The driver for engines that speak the OpenAI wire
//
// Owns: the connections to one engine and the exchanges on them.
// Does not own: queues, windows, deadlines, retries.
// Invariants: D1 to D4 of driver.ts.
//
// What differs between engines is a dialect: a handful of functions. Everything else is here once.

import { assert, CancelledError, OptionsError, toOrlaError } from '../errors.ts'
import type { Clock } from '../clock.ts'
import type { Capabilities } from '../schema/capabilities.ts'
import type { ChatRequest, Usage } from '../schema/chat.ts'
import { ChatExchange } from './chat-exchange.ts'
import type { ChatCall, ChatContext, ChatSink, Driver, DriverEnvironment, ProbeResult } from './driver.ts'
import { closedError, readEngineError } from './engine-error.ts'
import type { EngineErrorFacts } from './engine-error.ts'
import { parseEngineUrl } from './engine-url.ts'
import { EngineHttp } from './http.ts'
import type { KvControl, KvOptions } from './kv-control.ts'
import { withModels } from './model-list.ts'
import { chatBody, type WireBody } from './openai-request.ts'
import type { OpenAiSettings } from './openai-options.ts'
import { TurnoverMap } from '../turnover-map.ts'

/** What one request says besides the common fields, and what follows from it. */
export interface RequestExtras {
  /** Fields of the body. They win over common ones. */
  fields: WireBody
  headers?: Readonly<Record<string, string>>
  /** Id that the engine repeats in its answer. */
  echoedId?: string
  /** The request was cancelled while under way: engines that abort by id are told so here. Must not throw. */
  cancelled?(): void
  /** Its connection is no longer in use. Called once. */
  closed?(): void
}

/** The way to one engine, as dialects use it. */
export interface EngineAccess {
  readonly http: EngineHttp
  readonly settings: OpenAiSettings
  readonly clock: Clock
}

/** What the driver hands to a dialect's KV control. */
export type Prefill = KvControl['prefill']

/**
 * In what an engine differs from others on the OpenAI wire. One is made for each driver, so it may keep what it learns
 * of its engine.
 */
export interface OpenAiDialect {
  /** Name of the engine, for people. */
  readonly engine: string
  /** What is known of the engine without asking it. */
  capabilities(settings: OpenAiSettings): Capabilities
  /** Rewrites what is asked where the engine would silently ignore a part of it. */
  prepare?(request: ChatRequest): ChatRequest
  /** What one request says besides the common fields: priority, salt, session. */
  extras?(request: ChatRequest, context: ChatContext, access: EngineAccess): RequestExtras
  /** Fields of a delta that may hold thinking, in order of preference. */
  readonly reasoningFields: readonly string[]
  /** Recognises an error object, in an error body or inside a 200. */
  readError(body: unknown): EngineErrorFacts | undefined
  /** Completes what an answer says about tokens, from what is known of the engine. */
  completeUsage?(usage: Usage): void
  /**
   * Asks the engine what it serves.
   *
   * @param declared - what `capabilities` said
   * @throws {OrlaError} where the engine does not serve, or is another than was meant
   */
  probe(access: EngineAccess, declared: Capabilities, timeoutMs: number): Promise<Capabilities>
  /** Counts the tokens of a prompt. */
  readonly countTokens?: (
    access: EngineAccess,
    request: ChatRequest,
    signal: AbortSignal | undefined,
  ) => Promise<number>
  /** Control of the KV cache, but for the prefill, which is the same everywhere. */
  kv?(access: EngineAccess): Omit<KvControl, 'prefill'>
}

/** The plain OpenAI wire, as clouds and gateways speak it. Dialects of engines begin from this. */
export const openAiDialect: OpenAiDialect = {
  engine: 'openai',
  capabilities: (settings) => declaredCapabilities('openai', settings),
  // Clouds keep requests with one key together, and so near their cache; gateways and engines ignore it.
  extras: (_request, { sessionId }, { settings }) => ({
    fields: sessionId !== undefined && settings.promptCacheKey ? { prompt_cache_key: sessionId } : {},
  }),
  // vLLM and Ollama write the first, SGLang, llama.cpp and DeepSeek the second.
  reasoningFields: ['reasoning', 'reasoning_content'],
  readError: readEngineError,
  async probe({ http, settings }, declared, timeoutMs) {
    const reply = await http.send({ path: `${http.url.apiPath}/models`, timeoutMs })
    return withModels(http.scope, settings, declared, reply, readEngineError)
  },
}

/** What is declared of an engine before it was asked, from the options. KV control is `none` until a dialect says. */
export function declaredCapabilities(engine: string, settings: OpenAiSettings): Capabilities {
  const declared: Capabilities = {
    engine,
    tools: settings.tools ?? true,
    jsonSchema: settings.jsonSchema ?? true,
    cachedTokens: 'unknown',
    sharedPrefix: true,
    priority: 'none',
    kv: { flushAll: 'none', releaseSession: 'none', isolate: 'none', retain: 'none' },
  }
  if (settings.contextLength !== undefined) declared.contextLength = settings.contextLength
  return declared
}

/**
 * A driver for an engine that speaks the OpenAI wire.
 *
 * @throws {OptionsError} `ORLA_OPTIONS` if the environment variable of the API key is missing or unusable
 */
export function createOpenAiDriver(
  environment: DriverEnvironment,
  settings: OpenAiSettings,
  dialect: OpenAiDialect,
): Driver {
  const { backend, clock, log } = environment
  const apiKey = readApiKey(backend, settings.apiKeyEnv)
  const parsed = parseEngineUrl(settings.url)
  assert(parsed.ok, 'the url of a backend passed its schema but cannot be read')

  const headers: Record<string, string> = { ...settings.headers }
  if (apiKey !== undefined) headers['authorization'] = `Bearer ${apiKey}`
  const secrets = secretsOf(apiKey, settings.headers)
  const http = new EngineHttp({
    scope: { backend, origin: parsed.url.origin, secrets },
    url: parsed.url,
    headers,
    connections: settings.connections ?? settings.windowRequests,
    connectMs: settings.timeouts.connectMs,
    clock,
  })
  const path = `${parsed.url.apiPath}/chat/completions`
  const capabilities = dialect.capabilities(settings)
  const access: EngineAccess = { http, settings, clock }
  const exchanges = new TurnoverMap<number, ChatExchange>()
  let begun = 0
  let closed = false

  const chat = (asked: ChatRequest, context: ChatContext, sink: ChatSink): ChatCall => {
    if (closed) return { result: Promise.reject(closedError(http.scope)), cancel() {} }
    let extras: RequestExtras = { fields: {} }
    const number = begun++
    const exchange = new ChatExchange({
      http,
      clock,
      sink,
      reasoningFields: dialect.reasoningFields,
      readError: (body) => dialect.readError(body),
      firstCallNumber: 1 + countToolCalls(asked),
      onResult: ({ usage }) => dialect.completeUsage?.(usage),
      onCancelled: () => extras.cancelled?.(),
      onClosed() {
        exchanges.delete(number)
        extras.closed?.()
      },
    })
    exchanges.set(number, exchange)
    try {
      const request = dialect.prepare?.(asked) ?? asked
      if (dialect.extras !== undefined) extras = dialect.extras(request, context, access)
      exchange.start(path, { ...chatBody(request, settings.maxTokensField), ...extras.fields }, extras)
    } catch (error) {
      exchange.cancel(toOrlaError(error, 'ORLA_BACKEND_PROTOCOL', `the request to "${backend}" cannot be written`))
    }
    return exchange
  }

  const prefill: Prefill = async (request, context, options) => {
    // One token, freely chosen: what only shapes the answer is left out, what is part of the prompt stays.
    const { model, messages, tools, params } = request
    const call = chat({ model, messages, ...(tools && { tools }), params: { ...params, maxTokens: 1 } }, context, {
      delta() {},
    })
    const onAbort = (): void => call.cancel(new CancelledError('caller', `a prefill at "${backend}" was cancelled`))
    options?.signal?.addEventListener('abort', onAbort, { once: true })
    if (options?.signal?.aborted === true) onAbort()
    try {
      return (await call.result).usage
    } finally {
      options?.signal?.removeEventListener('abort', onAbort)
    }
  }

  const { countTokens } = dialect
  return {
    capabilities,
    kv: { ...(dialect.kv?.(access) ?? noKvControl(dialect.engine)), prefill },
    ...(countTokens && {
      countTokens: (request: ChatRequest, options?: KvOptions) =>
        countTokens(access, dialect.prepare?.(request) ?? request, options?.signal),
    }),
    chat,

    async probe(timeoutMs): Promise<ProbeResult> {
      try {
        return { state: 'ready', capabilities: await dialect.probe(access, capabilities, timeoutMs) }
      } catch (error) {
        return { state: 'unreachable', error: toOrlaError(error, 'ORLA_BACKEND_PROTOCOL', `probe of "${backend}"`) }
      }
    },

    async close(): Promise<void> {
      if (closed) return
      closed = true
      log.debug({ backend, exchanges: exchanges.size }, 'closing the connections of a backend')
      for (const exchange of exchanges.values()) {
        exchange.cancel(new CancelledError('shutdown', `backend "${backend}" was closed`))
      }
      await http.close()
    },
  }
}

/** KV control of an engine that has none. */
function noKvControl(engine: string): Omit<KvControl, 'prefill'> {
  const unsupported = {
    outcome: 'unsupported' as const,
    reason: `nothing on the wire of ${engine} empties its cache or ends a session`,
  }
  return {
    flushAll: () => Promise.resolve(unsupported),
    endSession: () => Promise.resolve(unsupported),
    usage: () => Promise.resolve({}),
  }
}

/** Tool calls in the conversation so far: ids that are made up count on from there, and so stay unique in it. */
function countToolCalls(request: ChatRequest): number {
  let count = 0
  for (const message of request.messages) if (message.role === 'assistant') count += message.toolCalls?.length ?? 0
  return count
}

/** The key and all header values, whole and by word: gateways take keys under many names, some after a scheme. */
function secretsOf(apiKey: string | undefined, headers: Readonly<Record<string, string>>): string[] {
  const secrets = new Set(apiKey === undefined ? [] : [apiKey])
  for (const value of Object.values(headers)) {
    for (const word of [value, ...value.split(/[\s,;=]+/)])
      if (!/^(bearer|basic|digest)$/i.test(word)) secrets.add(word)
  }
  return [...secrets]
}

function readApiKey(backend: string, variable: string | undefined): string | undefined {
  if (variable === undefined) return undefined
  const key = process.env[variable]?.trim() ?? ''
  if (key === '') throw keyError(backend, variable, 'is not set or empty: export it, or remove apiKeyEnv')
  if (!/^[\x21-\x7e]+$/.test(key)) {
    throw keyError(backend, variable, 'holds spaces or characters that no HTTP header can carry')
  }
  return key
}

function keyError(backend: string, variable: string, problem: string): OptionsError {
  return new OptionsError(`options of backend "${backend}"`, [
    { path: 'apiKeyEnv', code: 'environment', message: `the environment variable ${variable} ${problem}` },
  ])
}
