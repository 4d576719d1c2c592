// The definition: options, the package and the file that it needs.

import { writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { expect, test } from 'vitest'
import { realClock } from '../../../src/clock.ts'
import { OptionsError } from '../../../src/errors.ts'
import { llamaCpp } from '../../../src/engines/llama-cpp/llama-cpp.ts'
import { checkLoadable, parseLlamaCppOptions } from '../../../src/engines/llama-cpp/options.ts'
import { silentLogger } from '../../../src/log.ts'
import { rejection } from '../driver-kit.ts'
import { tinyModel } from './support.ts'

const model = tinyModel()
const environment = { backend: 'local', clock: realClock({ seed: 1 }), log: silentLogger }

test('the model is named after its file, and the window is as wide as there are sequences', () => {
  const { engine, settings } = llamaCpp({ model: 'models/qwen3-4b.gguf', sequences: 3 })
  expect(engine).toBe('llama-cpp')
  expect(settings).toMatchObject({ model: 'qwen3-4b', windowRequests: 3, contextLength: 8_192 })
  expect(llamaCpp({ model: 'm.gguf', windowRequests: 9 }).settings.windowRequests).toBe(9)
  const plan = parseLlamaCppOptions({ model: 'm.gguf', saveFolder: 'saved' })
  expect(plan).toMatchObject({ file: resolve('m.gguf'), gpu: false, sequences: 4, saveFolder: resolve('saved') })
  expect(plan.threads).toBeGreaterThanOrEqual(1)
})

test('every wrong option is named at once', () => {
  const wrong = { model: '', sequences: 0, gpu: 'cuda', treads: 3 } as never
  const error = (() => {
    try {
      return llamaCpp(wrong)
    } catch (thrown) {
      return thrown
    }
  })()
  expect(error).toBeInstanceOf(OptionsError)
  expect((error as OptionsError).issues.map(({ path }) => path).toSorted()).toEqual([
    'gpu',
    'model',
    'sequences',
    'treads',
  ])
})

test('a package that is not installed is named with the command that installs it', () => {
  const elsewhere = 'file:///nowhere/at/all/program.js'
  expect(() => checkLoadable('local', model.file, elsewhere)).toThrow(/npm install node-llama-cpp/)
  expect(() => checkLoadable('local', model.file)).not.toThrow()
})

test('a file that is not there, or is no GGUF, is found on connect', async () => {
  const text = join(model.folder, 'text.gguf')
  await writeFile(text, 'a text that is long enough for the header of a model')
  const old = join(model.folder, 'old.gguf')
  await writeFile(old, 'GGUFxxxxxxxxxxxxxxxxxxxxxxxx')
  const damaged = join(model.folder, 'damaged.gguf')
  await writeFile(damaged, 'GGUF\u0003\0\0\0xxxxxxxxxxxxxxxx')
  for (const [file, said] of [
    [join(model.folder, 'missing.gguf'), 'cannot be read'],
    [model.folder, 'cannot be read'],
    [text, 'is not a GGUF file'],
    [old, 'of GGUF version 2021161080'],
    [damaged, 'is a damaged GGUF file'],
  ] as const) {
    const error = await rejection(llamaCpp({ model: file }).connect(environment))
    expect(error).toMatchObject({ code: 'ORLA_OPTIONS' })
    expect(error.message).toContain(said)
  }
})

test('a definition connects to a driver that answers', async () => {
  const definition = llamaCpp({ model: model.file, threads: 1, sequences: 1, contextLength: 512 })
  const driver = await definition.connect(environment)
  expect(await driver.probe(60_000)).toMatchObject({ state: 'ready', capabilities: { contextLength: 512 } })
  await driver.close()
})
