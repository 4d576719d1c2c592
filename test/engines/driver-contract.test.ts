// Every driver against the front of its engine, over real sockets.

import { beforeAll, describe, test } from 'vitest'
import { driverContract, type DriverContractOptions } from '../../src/engines/contract/driver-contract.ts'
import { dynamo } from '../../src/engines/dynamo.ts'
import { llamaServer } from '../../src/engines/llama-server.ts'
import { ollama } from '../../src/engines/ollama.ts'
import { openAi } from '../../src/engines/openai.ts'
import { sglang } from '../../src/engines/sglang.ts'
import { vllm } from '../../src/engines/vllm.ts'
import { loadTokenText } from '../../src/simulator/token-text.ts'
import { subjectsOn } from './flavours.ts'

const noCount = 'nothing on its wire counts tokens'
const anyModel = 'it serves whatever name is asked for'
const noLoad = 'nothing on its wire tells its load'
const noIsolation = 'it has no salts'

const suites: Record<string, DriverContractOptions> = {
  vllm: { start: subjectsOn('vllm', vllm) },
  'vllm without flags': {
    start: subjectsOn({ engine: 'vllm', devMode: false, cacheReport: false, priorities: false }, (options) =>
      vllm({ ...options, priorities: false }),
    ),
    exceptions: {
      'reports cached tokens after a repeat': 'needs --enable-prompt-tokens-details',
      'a prefill makes the next answer find its prompt': 'needs --enable-prompt-tokens-details',
      'keeps the caches of salts apart where the engine can': 'needs --enable-prompt-tokens-details',
    },
  },
  sglang: {
    start: subjectsOn('sglang', sglang),
    exceptions: {
      'counts the tokens of a prompt as its usage does': noCount,
      'an unknown model is an error that says so': anyModel,
    },
  },
  'sglang without flags': {
    start: subjectsOn({ engine: 'sglang', cacheReport: false, priorities: false, sessions: false }, sglang),
    exceptions: {
      'counts the tokens of a prompt as its usage does': noCount,
      'an unknown model is an error that says so': anyModel,
      'reports cached tokens after a repeat': 'needs --enable-cache-report',
      'a prefill makes the next answer find its prompt': 'needs --enable-cache-report',
      'keeps the caches of salts apart where the engine can': 'needs --enable-cache-report',
    },
  },
  'llama-server': {
    start: subjectsOn('llamacpp', llamaServer),
    exceptions: {
      'an unknown model is an error that says so': anyModel,
      'keeps the caches of salts apart where the engine can': noIsolation,
    },
  },
  'llama-server without a host cache': {
    start: subjectsOn({ engine: 'llamacpp', hostCache: false }, (options) =>
      llamaServer({ ...options, hostCache: false }),
    ),
    exceptions: {
      'an unknown model is an error that says so': anyModel,
      'keeps the caches of salts apart where the engine can': noIsolation,
    },
  },
  'llama-server without slot actions': {
    start: subjectsOn({ engine: 'llamacpp', slotActions: false }, llamaServer),
    exceptions: {
      'an unknown model is an error that says so': anyModel,
      'keeps the caches of salts apart where the engine can': noIsolation,
    },
  },
  ollama: {
    start: subjectsOn('ollama', ollama),
    exceptions: {
      'requires a tool where one is required': 'it ignores tool_choice',
      'reports cached tokens after a repeat': 'it never does',
      'counts the tokens of a prompt as its usage does': noCount,
      'a prompt beyond the context is ORLA_CONTEXT_LENGTH': 'it cuts prompts without a word',
      'a prefill makes the next answer find its prompt': 'it reports no cached tokens',
      'tells the load of the engine': noLoad,
      'keeps the requests of a session together': 'it knows no sessions',
      'keeps the caches of salts apart where the engine can': noIsolation,
    },
  },
  openAi: {
    start: subjectsOn('openai', (options) => openAi({ ...options, promptCacheKey: true })),
    exceptions: {
      'counts the tokens of a prompt as its usage does': noCount,
      'tells the load of the engine': noLoad,
      'keeps the caches of salts apart where the engine can': noIsolation,
    },
  },
  dynamo: {
    start: subjectsOn('openai', dynamo),
    exceptions: {
      'counts the tokens of a prompt as its usage does': noCount,
      'tells the load of the engine': noLoad,
      'keeps the caches of salts apart where the engine can': 'the plain front does not read nvext',
    },
  },
}

// The tokenizer loads once, for some hundred milliseconds in which nothing else happens.
beforeAll(async () => {
  await loadTokenText()
})

describe.each(Object.entries(suites))('%s', (_name, options) => {
  for (const { name, run } of driverContract(options)) test.concurrent(name, run)
})
