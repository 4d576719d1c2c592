// Which engine answers at an address: told by the documents that only it has.

import { OrlaError } from '../errors.ts'
import type { Capabilities } from '../schema/capabilities.ts'
import { protocolError, readEngineError, statusError } from './engine-error.ts'
import type { EngineHttp, JsonReply } from './http.ts'
import { modelCards, withModels } from './model-list.ts'
import type { OpenAiSettings } from './openai-options.ts'

/** Engines that are told apart. `openai`: speaks the wire and is none of the others. */
export type EngineKind = 'vllm' | 'sglang' | 'llamacpp' | 'ollama' | 'openai'

/** An object of a JSON document. */
export type JsonObject = Record<string, unknown>

/** What was found at an address. */
export interface Fingerprint {
  engine: EngineKind
  version?: string
  /** The engine's own description of itself: `/server_info`, `/props`; empty where it has none. */
  about: JsonObject
  /** The answer to `GET /models`. */
  models: JsonReply
}

/** Names of engines and how their backends are made. */
export const engineNames: Readonly<Record<EngineKind, { name: string; make: string }>> = {
  vllm: { name: 'vLLM', make: 'vllm' },
  sglang: { name: 'SGLang', make: 'sglang' },
  llamacpp: { name: 'llama-server', make: 'llamaServer' },
  ollama: { name: 'Ollama', make: 'ollama' },
  openai: { name: 'an OpenAI-compatible server', make: 'openAi' },
}

/** Reads a JSON object; `{}` where there is none. */
export function objectOf(value: unknown): JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as JsonObject) : {}
}

/** A non-empty text field. */
export function textField(object: JsonObject, field: string): string | undefined {
  const value = object[field]
  return typeof value === 'string' && value !== '' ? value : undefined
}

/** A field that is a number above zero. */
export function countField(object: JsonObject, field: string): number | undefined {
  const value = object[field]
  return typeof value === 'number' && Number.isSafeInteger(value) && value > 0 ? value : undefined
}

/**
 * Recognises the engine behind `http`. All questions are asked at once.
 *
 * @throws {OrlaError} where nothing answers; `ORLA_BACKEND_HTTP` while a llama-server loads its model
 */
export async function fingerprint(http: EngineHttp, timeoutMs: number): Promise<Fingerprint> {
  const { rootPath, apiPath } = http.url
  const ask = (path: string): Promise<JsonReply | OrlaError> =>
    http.send({ path, timeoutMs }).catch((error: unknown) => {
      if (error instanceof OrlaError) return error
      throw error
    })
  const [models, info, oldInfo, props, ollama, version] = await Promise.all([
    http.send({ path: `${apiPath}/models`, timeoutMs }),
    ask(`${rootPath}/server_info`),
    ask(`${rootPath}/get_server_info`),
    ask(`${rootPath}/props`),
    ask(`${rootPath}/api/version`),
    ask(`${rootPath}/version`),
  ])
  const owners = new Set(modelCards(models.value)?.map(({ ownedBy }) => ownedBy))

  const sglang = [document(info), document(oldInfo)].find(
    (about) => 'tokenizer_path' in about || 'internal_states' in about,
  )
  if (sglang !== undefined || owners.has('sglang')) {
    return found('sglang', textField(sglang ?? {}, 'version'), sglang ?? {}, models)
  }
  const about = document(props)
  if ('total_slots' in about || owners.has('llamacpp')) {
    return found('llamacpp', textField(about, 'build_info'), about, models)
  }
  if (models.status === 503 && /Loading model/.test(models.text)) {
    throw statusError(http.scope, 503, readEngineError(models.value), models.text)
  }
  const ollamaVersion = textField(document(ollama), 'version')
  if (ollamaVersion !== undefined) return found('ollama', ollamaVersion, {}, models)
  const vllmVersion = textField(document(version), 'version')
  if (owners.has('vllm') || (vllmVersion !== undefined && modelCards(models.value)?.[0]?.contextLength !== undefined)) {
    return found('vllm', vllmVersion, {}, models)
  }
  return found('openai', undefined, {}, models)
}

function document(reply: JsonReply | OrlaError): JsonObject {
  return reply instanceof OrlaError || reply.status !== 200 ? {} : objectOf(reply.value)
}

function found(engine: EngineKind, version: string | undefined, about: JsonObject, models: JsonReply): Fingerprint {
  return version === undefined ? { engine, about, models } : { engine, version, about, models }
}

/**
 * Probes an engine that is meant to be `engine`.
 *
 * @returns what was found, and `declared` with models, context length and version
 * @throws {BackendError} `ORLA_BACKEND_PROTOCOL` with the right name where it is another engine; errors of
 *   {@link fingerprint} and {@link withModels}
 */
export async function probeAs(
  engine: EngineKind,
  { http, settings }: { http: EngineHttp; settings: OpenAiSettings },
  declared: Capabilities,
  timeoutMs: number,
): Promise<{ seen: Fingerprint; capabilities: Capabilities }> {
  const seen = await fingerprint(http, timeoutMs)
  const meant = engineNames[engine]
  if (seen.engine !== engine && seen.engine !== 'openai') {
    const is = engineNames[seen.engine]
    const version = seen.version === undefined ? '' : ` ${seen.version}`
    throw protocolError(
      http.scope,
      `this is ${is.name}${version}, not ${meant.name}: make the backend with ${is.make}({ url, model })`,
      { engine: seen.engine },
    )
  }
  const capabilities = withModels(http.scope, settings, declared, seen.models, readEngineError)
  capabilities.notes = []
  if (seen.version !== undefined) capabilities.version = seen.version
  if (seen.engine === 'openai') {
    capabilities.notes.push(
      `only the OpenAI wire answers here, not ${meant.name} itself: a proxy in front of it hides the rest`,
    )
  }
  return { seen, capabilities: { ...capabilities } }
}
