// The model, on its side of the process boundary
//
// Owns: the loaded model, its sequences, and the requests under way.
// Does not own: the process (llama-worker, model-process), deadlines and retries (the runtime).
// In: load, chat, cancel, flushAll, endSession, save, restore, usage, count
// Out: loaded, unloadable, delta, finished, done, failed
// Invariants
//   H1. Each command but `cancel` is answered exactly once, by `finished`, `done` or `failed`.
//   H2. A cancelled request gives its sequence back at the next token, and what it evaluated stays of use.
//   H3. What one salt's requests evaluated is never used for another's, in whatever sequence it is.
//   H4. A saved context is only loaded into the model that wrote it: llama.cpp would die of another.

import { createHash } from 'node:crypto'
import { mkdir, open, stat } from 'node:fs/promises'
import { basename, join } from 'node:path'
import type { Llama, LlamaContext, LlamaContextSequence, LlamaModel } from 'node-llama-cpp'
import { BackendError, CancelledError, messageOf, toOrlaError, type OrlaError } from '../../errors.ts'
import type { ChatResult } from '../../schema/chat.ts'
import { Conversations, type LlamaModule } from './conversation.ts'
import { generate, prefill } from './generation.ts'
import type { ChatCommand, FromModel, KvAnswer, KvCommand, LoadPlan, ToModel } from './protocol.ts'
import { SequenceTable } from './sequences.ts'

interface Loaded {
  plan: LoadPlan
  module: LlamaModule
  llama: Llama
  model: LlamaModel
  context: LlamaContext
  table: SequenceTable<LlamaContextSequence>
  conversations: Conversations
  /** Tells this model from others, in the names of saved contexts. */
  fingerprint: string
}

/** Serves one model. `say` carries answers to the runtime. */
export class ModelHost {
  readonly #say: (message: FromModel) => void
  readonly #underWay = new Map<number, AbortController>()
  /** Salt of what each sequence keeps (H3). */
  readonly #salts = new WeakMap<LlamaContextSequence, string | undefined>()
  readonly #hit = { cached: 0, prompt: 0 }
  #loaded: Loaded | undefined

  constructor(say: (message: FromModel) => void) {
    this.#say = say
  }

  /** Takes one message of the runtime. */
  receive(message: ToModel): void {
    switch (message.type) {
      case 'load':
        void this.#load(message.plan)
        break
      case 'cancel':
        this.#underWay.get(message.id)?.abort(new CancelledError('caller', 'the request was cancelled'))
        break
      case 'chat':
        void this.#answer(message.id, async (signal) => {
          this.#say({ type: 'finished', id: message.id, result: await this.#chat(message, signal) })
        })
        break
      default:
        void this.#answer(message.id, async (signal) => {
          this.#say({ type: 'done', id: message.id, answer: await this.#control(message, signal) })
        })
    }
  }

  /** Frees the model. */
  async close(): Promise<void> {
    for (const controller of this.#underWay.values()) controller.abort(new CancelledError('shutdown', 'closing'))
    const loaded = this.#loaded
    this.#loaded = undefined
    await loaded?.context.dispose()
    await loaded?.model.dispose()
    await loaded?.llama.dispose()
  }

  async #load(plan: LoadPlan): Promise<void> {
    try {
      const module = await import('node-llama-cpp')
      const llama = await module.getLlama({
        build: 'never',
        gpu: plan.gpu,
        progressLogs: false,
        skipDownload: true,
        logLevel: module.LlamaLogLevel.error,
        // Threads are given by the plan, not rationed between contexts.
        maxThreads: 0,
      })
      const model = await llama.loadModel({ modelPath: plan.file })
      const context = await model.createContext({
        contextSize: Math.min(plan.contextLength, model.trainContextSize),
        sequences: plan.sequences,
        threads: plan.threads,
      })
      const sequences = Array.from({ length: plan.sequences }, () => context.getSequence())
      const table = new SequenceTable(sequences, plan.waitingMax)
      const conversations = new Conversations(module, model)
      const fingerprint = await fingerprintOf(plan.file)
      this.#loaded = { plan, module, llama, model, context, table, conversations, fingerprint }
      const wrapper = conversations.wrapperFor()
      this.#say({
        type: 'loaded',
        model: {
          contextLength: context.contextSize,
          trainContextLength: model.trainContextSize,
          chatWrapper: wrapper.wrapperName,
          tools: wrapper.settings.functions !== undefined,
          version: await module.getModuleVersion(),
        },
      })
    } catch (error) {
      const what = `llama.cpp cannot load ${plan.file}`
      const failure = new BackendError('ORLA_BACKEND_UNREACHABLE', `${what}: ${messageOf(error)}`, { cause: error })
      this.#say({ type: 'unloadable', error: failure.toJSON() })
    }
  }

  /** Runs one command; its failure is its answer (H1). */
  async #answer(id: number, work: (signal: AbortSignal) => Promise<void>): Promise<void> {
    const controller = new AbortController()
    this.#underWay.set(id, controller)
    try {
      await work(controller.signal)
    } catch (error) {
      this.#say({ type: 'failed', id, error: toOrlaError(error, 'ORLA_BACKEND_HTTP', 'llama.cpp').toJSON() })
    } finally {
      this.#underWay.delete(id)
    }
  }

  async #chat(command: ChatCommand, signal: AbortSignal): Promise<ChatResult> {
    const { id, request, session, priority, prefillOnly, salt } = command
    const { module, llama, table, conversations, plan } = this.#ready()
    const chat = conversations.prepare(request)
    const lease = await table.take(session, priority, signal)
    try {
      if (this.#salts.get(lease.sequence) !== salt) await lease.sequence.clearHistory()
      this.#salts.set(lease.sequence, salt)
      const tools = {
        module,
        llama,
        sequence: lease.sequence,
        signal,
        model: basename(plan.file, '.gguf'),
        delta: (channel: 'content' | 'reasoning' | 'tool', text: string) =>
          this.#say({ type: 'delta', id, channel, text }),
      }
      const result = prefillOnly ? await prefill(tools, chat) : await generate(tools, request, chat)
      this.#hit.prompt += result.usage.promptTokens ?? 0
      this.#hit.cached += result.usage.cachedTokens ?? 0
      return result
    } finally {
      lease.release()
    }
  }

  async #control(command: KvCommand, signal: AbortSignal): Promise<KvAnswer> {
    const { table, conversations, fingerprint, plan, context } = this.#ready()
    switch (command.type) {
      case 'flushAll':
      case 'endSession': {
        const { leases, busy } = table.end(command.type === 'flushAll' ? undefined : command.session)
        let tokens = 0
        for (const lease of leases) {
          tokens += lease.sequence.nextTokenIndex
          try {
            await lease.sequence.clearHistory()
          } finally {
            lease.release()
          }
        }
        return { tokens, busy }
      }
      case 'save': {
        const lease = table.kept(command.session)
        if (lease === undefined) throw stateError(`no idle context of session "${command.session}" is kept`)
        try {
          await mkdir(plan.saveFolder, { recursive: true })
          const path = this.#savedPath(command.name, fingerprint)
          const { fileSize } = await lease.sequence.saveStateToFile(path)
          return { tokens: lease.sequence.nextTokenIndex, bytes: fileSize }
        } finally {
          lease.release()
        }
      }
      case 'restore': {
        const path = this.#savedPath(command.name, fingerprint)
        const saved = await stat(path).catch(() => undefined)
        if (saved === undefined) throw stateError(`this model has saved no context under the name "${command.name}"`)
        const lease = await table.take(command.session, 0, signal)
        try {
          await lease.sequence.loadStateFromFile(path, { acceptRisk: true })
          return { tokens: lease.sequence.nextTokenIndex }
        } finally {
          lease.release()
        }
      }
      case 'usage': {
        const idleTokens = table.idle().reduce((sum, sequence) => sum + sequence.nextTokenIndex, 0)
        return {
          running: table.running,
          waiting: table.waiting,
          idleTokens,
          capacityTokens: context.contextSize * plan.sequences,
          hit: { ...this.#hit },
        }
      }
      case 'count':
        return { tokens: conversations.prepare(command.request).tokens.length }
    }
  }

  #savedPath(name: string, fingerprint: string): string {
    // The name may hold anything; the file's name may not.
    const safe = createHash('sha256').update(name).digest('hex').slice(0, 32)
    return join(this.#ready().plan.saveFolder, `${safe}.${fingerprint}.kv`)
  }

  #ready(): Loaded {
    if (this.#loaded === undefined) throw stateError('the model is not loaded')
    return this.#loaded
  }
}

function stateError(message: string): OrlaError {
  return new BackendError('ORLA_BACKEND_HTTP', message)
}

/** Bytes of a model file that its fingerprint covers, besides its length: the metadata and the first tensors. */
const fingerprintBytes = 1024 * 1024

async function fingerprintOf(file: string): Promise<string> {
  const handle = await open(file)
  try {
    const { buffer, bytesRead } = await handle.read({ buffer: Buffer.alloc(fingerprintBytes), position: 0 })
    const { size } = await handle.stat()
    return createHash('sha256').update(buffer.subarray(0, bytesRead)).update(String(size)).digest('hex').slice(0, 16)
  } finally {
    await handle.close()
  }
}
