// `orla demo --gguf`: real inference behind the demonstration. The model writes nonsense; the outcome must be true.

import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import type { Transition } from '../../../src/index.ts'
import { orla } from '../../cli/spawn.ts'
import { tinyModel } from './support.ts'

const model = tinyModel({ contextLength: 32_768 })

describe('orla demo --gguf', () => {
  test('ends, with an exit code that is true of the run, and tools that were really called', async () => {
    const { code, stdout, stderr } = await orla(['demo', '--json', '--sample', 'question', '--gguf', model.file])
    expect(stderr).toBe('')
    const events = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Transition)
    const last = events.at(-1)
    expect(['run.completed', 'run.failed']).toContain(last?.type)
    expect(code).toBe(last?.type === 'run.completed' ? 0 : 1)
    expect(events.some(({ type }) => type === 'stage.completed')).toBe(true)
    expect(events.filter(({ type }) => type === 'tool.started').length).toBeGreaterThan(0)
    const backends = events.flatMap((event) => (event.type === 'stage.granted' ? [event.backend] : []))
    expect(new Set(backends)).toEqual(new Set(['light', 'heavy']))
  }, 90_000)

  test.for<[name: string, parameters: string[], code: number, says: RegExp]>([
    ['a file that is not there', ['--gguf', '/no/such.gguf'], 3, /cannot be read.*no such file/],
    ['a file that is no model', ['--gguf', join(import.meta.dirname, 'demo.test.ts')], 3, /is not a GGUF file/],
    [
      'other models beside it',
      ['--gguf', 'm.gguf', '--light-model', 'x', '--heavy-url', 'http://a'],
      2,
      /leave out --heavy-url and --light-model/,
    ],
  ])('refuses %s', async ([, parameters, code, says]) => {
    const ended = await orla(['demo', '--json', ...parameters])
    expect({ code: ended.code, stdout: ended.stdout }).toEqual({ code, stdout: '' })
    expect(ended.stderr).toMatch(says)
  })
})
