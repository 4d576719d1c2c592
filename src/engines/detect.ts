// Finding out what serves at an address, before there is a backend.

import { realClock, type Clock } from '../clock.ts'
import { OptionsError, toOrlaError, type OrlaError } from '../errors.ts'
import type { Capabilities } from '../schema/capabilities.ts'
import { silentLogger } from '../log.ts'
import type { BackendDefinition } from './backend-definition.ts'
import { parseEngineUrl } from './engine-url.ts'
import { engineNames, fingerprint, type EngineKind } from './fingerprint.ts'
import { EngineHttp } from './http.ts'
import { llamaServer } from './llama-server.ts'
import { modelCards } from './model-list.ts'
import { ollama } from './ollama.ts'
import { openAi } from './openai.ts'
import { sglang } from './sglang.ts'
import { vllm } from './vllm.ts'

/** What serves at an address. */
export type DetectedEngine =
  | {
      state: 'found'
      url: string
      engine: EngineKind
      /** Its name, for people. */
      name: string
      models: string[]
      capabilities: Capabilities
    }
  /** Something answers, but no engine that can be used. */
  | { state: 'other'; url: string; error: OrlaError }
  /** Nothing answers. */
  | { state: 'silent'; url: string; error: OrlaError }

const backends: Readonly<Record<EngineKind, (options: { url: string; model: string }) => BackendDefinition>> = {
  vllm,
  sglang,
  llamacpp: llamaServer,
  ollama,
  openai: openAi,
}

/**
 * Recognises the engine at `url` and asks it what it can do.
 *
 * @param timeoutMs - for each of the two rounds of questions
 * @throws {OptionsError} `ORLA_OPTIONS` if `url` cannot be one; whatever the engine does is a result
 */
export async function detectEngine(
  url: string,
  timeoutMs: number,
  clock: Clock = realClock(),
): Promise<DetectedEngine> {
  const parsed = parseEngineUrl(url)
  if (!parsed.ok) {
    const issues = parsed.problems.map((message) => ({ path: 'url', code: 'url', message }))
    throw new OptionsError('the address of an engine', issues)
  }
  const { origin } = parsed.url
  const scope = { backend: 'detected', origin, secrets: [] }
  const http = new EngineHttp({ scope, url: parsed.url, headers: {}, connections: 1, connectMs: timeoutMs, clock })
  try {
    const { engine, models } = await fingerprint(http, timeoutMs)
    const names = modelCards(models.value)?.map(({ id }) => id) ?? []
    const definition = backends[engine]({ url, model: names[0] ?? 'unknown' })
    const driver = await definition.connect({ backend: 'detected', clock, log: silentLogger })
    const probe = await driver.probe(timeoutMs)
    await driver.close()
    if (probe.state === 'unreachable') return { state: 'other', url, error: probe.error }
    const { capabilities } = probe
    // What lists no models is no engine: any web server answers something.
    if (engine === 'openai' && capabilities.models === undefined) {
      const error = toOrlaError(new Error('it lists no models'), 'ORLA_BACKEND_PROTOCOL', `not an engine at ${origin}`)
      return { state: 'other', url, error }
    }
    return { state: 'found', url, engine, name: engineNames[engine].name, models: names, capabilities }
  } catch (error) {
    const known = toOrlaError(error, 'ORLA_BACKEND_PROTOCOL', `looking at ${origin}`)
    const silent = known.code === 'ORLA_BACKEND_UNREACHABLE' || known.code === 'ORLA_BACKEND_TIMEOUT'
    return { state: silent ? 'silent' : 'other', url, error: known }
  } finally {
    await http.close()
  }
}
