import { setFlagsFromString } from 'node:v8'
import { beforeEach, describe, expect, test, vi } from 'vitest'
import type * as Threads from '../src/threads.ts'

vi.mock('node:v8', () => ({ setFlagsFromString: vi.fn<(flags: string) => void>() }))

const flags = vi.mocked(setFlagsFromString)
let threads: typeof Threads

beforeEach(async () => {
  flags.mockClear()
  vi.resetModules()
  threads = await import('../src/threads.ts')
})

describe('threads', () => {
  test('find their entry file beside a source, and beside a built module', () => {
    expect(threads.entryFile('file:///a/pool.ts', 'worker').href).toBe('file:///a/worker.ts')
    expect(threads.entryFile('file:///a/pool.js', 'worker').href).toBe('file:///a/worker.js')
  })

  test.each(['file:///w.ts', 'file:///w.mts', 'file:///w.cts?v=2'])(
    'that load %s make V8 keep the wrappers that the type stripper begins with, once',
    (module) => {
      threads.threadOptions(new URL('file:///entry.js'), module)
      threads.threadOptions(module)
      expect(flags.mock.calls).toEqual([['--wasm-wrapper-tiering-budget=2000000000']])
    },
  )

  test('that load JavaScript alone change nothing in their process', () => {
    threads.threadOptions(new URL('file:///entry.js'), 'file:///ts/workflows.mjs', 'file:///a.d.ts.js')
    expect(flags).not.toHaveBeenCalled()
  })
})
