// The driver for engines that speak the OpenAI wire
//
// Owns: the connections to one engine and the exchanges on them.
// Does not own: queues, windows, deadlines, retries.
// Invariants: D1 to D4 of driver.ts.
//
// What differs between engines is a dialect: a handful of functions. Everything else is here once.

import { assert, CancelledError, OptionsError, toOrlaError } from '../errors.ts'
import type { Capabilities } from '../schema/capabilities.ts'
import type { ChatRequest } from '../schema/chat.ts'
import { ChatExchange } from './chat-exchange.ts'
import type { ChatCall, ChatContext, Driver, DriverEnvironment, ProbeResult } from './driver.ts'
import { closedError, first, protocolError, readEngineError, redirectError, statusError } from './engine-error.ts'
import type { EngineErrorFacts } from './engine-error.ts'
import { parseEngineUrl } from './engine-url.ts'
import { EngineHttp } from './http.ts'
import { chatBody, type WireBody } from './openai-request.ts'
import type { OpenAiSettings } from './openai-options.ts'

/** In what an engine differs from others on the OpenAI wire. */
export interface OpenAiDialect {
  /** Name of the engine, for people. */
  readonly engine: string
  /** What is known of the engine without asking it. */
  capabilities(settings: OpenAiSettings): Capabilities
  /** Fields that the engine takes besides the common ones: priority, salt, session. They win over common ones. */
  bodyExtras(request: ChatRequest, context: ChatContext): WireBody
  /** Fields of a delta that may hold thinking, in order of preference. */
  readonly reasoningFields: readonly string[]
  /** Recognises an error object, in an error body or inside a 200. */
  readError(body: unknown): EngineErrorFacts | undefined
  /**
   * Asks the engine what it serves.
   *
   * @param declared - what `capabilities` said
   * @throws {OrlaError} where the engine does not serve
   */
  probe(http: EngineHttp, settings: OpenAiSettings, declared: Capabilities, timeoutMs: number): Promise<Capabilities>
}

/** Models listed by a probe. Gateways serve some hundreds. */
const modelsMax = 10_000

/** The plain OpenAI wire, as clouds and gateways speak it. Dialects of engines begin from this. */
export const openAiDialect: OpenAiDialect = {
  engine: 'openai',
  capabilities(settings) {
    const declared: Capabilities = {
      engine: this.engine,
      tools: settings.tools ?? true,
      jsonSchema: settings.jsonSchema ?? true,
      cachedTokens: 'unknown',
      sharedPrefix: true,
      kv: { flushAll: 'none', releaseSession: 'none', isolate: 'none', retain: 'none' },
    }
    if (settings.contextLength !== undefined) declared.contextLength = settings.contextLength
    return declared
  },
  bodyExtras: () => ({}),
  // vLLM and Ollama write the first, SGLang, llama.cpp and DeepSeek the second.
  reasoningFields: ['reasoning', 'reasoning_content'],
  readError: readEngineError,
  probe(http, settings, declared, timeoutMs) {
    return probeModels(http, settings, declared, timeoutMs, (body) => this.readError(body))
  },
}

/** Reads `GET /models`. An engine without it (404, 405, 501) is ready, its models unknown. */
async function probeModels(
  http: EngineHttp,
  settings: OpenAiSettings,
  declared: Capabilities,
  timeoutMs: number,
  readError: OpenAiDialect['readError'],
): Promise<Capabilities> {
  const reply = await http.getJson(`${http.url.apiPath}/models`, timeoutMs)
  if (reply.status === 404 || reply.status === 405 || reply.status === 501) return declared
  if (reply.status >= 300 && reply.status < 400) {
    throw redirectError(http.scope, reply.status, first(reply.headers['location']))
  }
  if (reply.status !== 200) throw statusError(http.scope, reply.status, readError(reply.value), reply.text)
  const list =
    typeof reply.value === 'object' && reply.value !== null ? (reply.value as { data?: unknown }).data : undefined
  if (!Array.isArray(list)) {
    throw protocolError(http.scope, `GET ${http.url.apiPath}/models answered 200, but not with a list of models`)
  }
  const models: string[] = []
  let contextLength: number | undefined
  for (const card of (list as unknown[]).slice(0, modelsMax)) {
    if (typeof card !== 'object' || card === null) continue
    const { id, max_model_len: length } = card as { id?: unknown; max_model_len?: unknown }
    if (typeof id !== 'string' || id === '') continue
    models.push(id)
    const known = typeof length === 'number' && Number.isSafeInteger(length) && length > 0
    if (known && (id === settings.model || list.length === 1)) contextLength = length
  }
  const found: Capabilities = { ...declared, models }
  if (declared.contextLength === undefined && contextLength !== undefined) found.contextLength = contextLength
  return found
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
  const exchanges = new Set<ChatExchange>()
  let closed = false

  return {
    capabilities,

    async probe(timeoutMs): Promise<ProbeResult> {
      try {
        return { state: 'ready', capabilities: await dialect.probe(http, settings, capabilities, timeoutMs) }
      } catch (error) {
        return { state: 'unreachable', error: toOrlaError(error, 'ORLA_BACKEND_PROTOCOL', `probe of "${backend}"`) }
      }
    },

    chat(request, context, sink): ChatCall {
      if (closed) return { result: Promise.reject(closedError(http.scope)), cancel() {} }
      const exchange = new ChatExchange({
        http,
        clock,
        sink,
        reasoningFields: dialect.reasoningFields,
        readError: (body) => dialect.readError(body),
        firstCallNumber: 1 + countToolCalls(request),
        onClosed: (done) => exchanges.delete(done),
      })
      exchanges.add(exchange)
      try {
        exchange.start(path, { ...chatBody(request, settings.maxTokensField), ...dialect.bodyExtras(request, context) })
      } catch (error) {
        exchange.cancel(toOrlaError(error, 'ORLA_BACKEND_PROTOCOL', `the request to "${backend}" cannot be written`))
      }
      return exchange
    },

    async close(): Promise<void> {
      if (closed) return
      closed = true
      log.debug({ backend, exchanges: exchanges.size }, 'closing the connections of a backend')
      for (const exchange of exchanges) {
        exchange.cancel(new CancelledError('shutdown', `backend "${backend}" was closed`))
      }
      await http.close()
    },
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
