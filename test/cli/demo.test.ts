import { Readable } from 'node:stream'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { createRuntime, simulated, virtualClock } from '../../src/index.ts'
import { chooseTicket } from '../../src/cli/demo/choose.ts'
import { listenForInterrupts } from '../../src/cli/demo/interrupts.ts'
import { liveReporter, type Terminal } from '../../src/cli/demo/live-reporter.ts'
import { demoOptions } from '../../src/cli/demo/options.ts'
import { showingOf } from '../../src/cli/demo/parts.ts'
import { supportExample } from '../../src/cli/demo/support.ts'
import { readTicket } from '../../src/cli/demo/ticket-file.ts'
import { exitCodeOf, explain } from '../../src/cli/exit-code.ts'
import { nearest } from '../../src/nearest.ts'
import { main } from '../../src/cli/program.ts'
import { planOf } from '../../src/cli/view/view-model.ts'

const prompts = vi.hoisted(() => ({ select: vi.fn(), text: vi.fn(), cancelled: Symbol('cancelled') }))
vi.mock('@clack/prompts', () => ({
  select: prompts.select,
  text: prompts.text,
  isCancel: (value: unknown) => value === prompts.cancelled,
}))

describe('options', () => {
  const of = (flags: Parameters<typeof demoOptions>[0], env: Record<string, string> = {}) => demoOptions(flags, env)

  test('without flags: simulated engines, priority at the heavy one', () => {
    expect(of({})).toMatchObject({
      backend: { kind: 'sim', models: { light: 'qwen3-4b', heavy: 'qwen3-8b' } },
      stagePolicy: 'priority',
      json: false,
      part: undefined,
      seed: undefined,
    })
  })

  test('a URL or ORLA_BACKEND=openai asks for servers, each with its usual place', () => {
    const urls = { light: 'http://127.0.0.1:8000', heavy: 'http://127.0.0.1:8001' }
    expect(of({}, { ORLA_BACKEND: 'openai' }).backend).toMatchObject({ kind: 'openai', urls, apiKeyEnv: undefined })
    const env = { OPENAI_API_KEY: 'secret' }
    const { backend } = of({ heavyUrl: 'http://h:1', heavyModel: 'm' }, env)
    expect(backend).toEqual({
      kind: 'openai',
      models: { light: 'qwen3-4b', heavy: 'm' },
      urls: { ...urls, heavy: 'http://h:1' },
      apiKeyEnv: 'OPENAI_API_KEY',
    })
  })

  test.for([
    [{ seed: 'x' }, /--seed: "x" is not a whole number/],
    [{ seed: '-1' }, /--seed/],
    [{ seed: '4294967296' }, /from 0 to 2147483647/],
    [{ deadlineMs: '0' }, /--deadline-ms/],
    [{ part: '4' }, /there are: 1, 2, 3/],
    [{ stagePolicy: 'fifo' }, /there are: fcfs, priority, sjf/],
    [{ stagePolicy: 'prioirty' }, /did you mean "priority"/],
    [{ ticket: '-', sample: 'outage' }, /exclude each other/],
  ] as const)('refuses %o', ([flags, says]) => {
    expect(() => of(flags)).toThrow(says)
  })

  test.for([
    ['vllm', ':8000', ':8001'],
    ['sglang', ':30000', ':30001'],
    ['ollama', ':11434', ':11434'],
    ['llamacpp', ':8080', ':8081'],
  ] as const)('ORLA_BACKEND=%s has its usual places, and gets no key of a cloud', ([name, light, heavy]) => {
    const { backend } = of({}, { ORLA_BACKEND: name, OPENAI_API_KEY: 'secret' })
    expect(backend).toMatchObject({
      kind: name,
      urls: { light: `http://127.0.0.1${light}`, heavy: `http://127.0.0.1${heavy}` },
      apiKeyEnv: undefined,
    })
  })

  test.for([
    ['Sim', /did you mean "sim"/],
    ['constructor', /there is no "constructor"/],
  ] as const)('refuses ORLA_BACKEND=%s', ([name, says]) => {
    expect(() => of({}, { ORLA_BACKEND: name })).toThrow(says)
  })

  test('simulated engines and URLs exclude each other', () => {
    expect(() => of({ lightUrl: 'http://a' }, { ORLA_BACKEND: 'sim' })).toThrow(/excludes/)
  })
})

describe('exit codes', () => {
  test('errors end as documented', () => {
    const codes = [
      'ORLA_INPUT',
      'ORLA_OPTIONS',
      'ORLA_BACKEND_OPEN',
      'ORLA_DEADLINE',
      'ORLA_INVARIANT',
      'ORLA_TOOL',
    ] as const
    expect(codes.map(exitCodeOf)).toEqual([2, 3, 4, 5, 70, 1])
    expect(explain(new TypeError('oops'))).toMatchObject({
      exitCode: 70,
      message: expect.stringContaining('TypeError'),
    })
    expect(explain('text')).toMatchObject({ exitCode: 70 })
  })

  test('the nearest name is found by beginning or by spelling, if one is near', () => {
    const names = ['outage', 'locked-out', 'lost-package']
    expect([nearest('lock', names), nearest('outrage', names), nearest('zzz', names), nearest('lo', names)]).toEqual([
      'locked-out',
      'outage',
      undefined,
      undefined,
    ])
    expect(nearest('x'.repeat(10_000), names)).toBeUndefined()
  })
})

describe('ticket', () => {
  const read = (...chunks: (string | Buffer)[]): Promise<string> => readTicket('-', Readable.from(chunks))

  test('is read from a stream in pieces, characters cut in two included', async () => {
    expect(await read(Buffer.from([0xe2, 0x82]), Buffer.from([0xac]), ' 5\n')).toBe('€ 5')
    await expect(readTicket('package.json', Readable.from([]))).resolves.toContain('"orla"')
  })

  test('is refused where it is no text, too large, empty, or no file', async () => {
    await expect(read('a\0')).rejects.toThrow(/NUL/)
    await expect(read(Buffer.from([0xff]))).rejects.toThrow(/UTF-8/)
    await expect(read(' ')).rejects.toThrow(/standard input is empty/)
    await expect(read(Buffer.alloc(10 * 1024 * 1024), Buffer.alloc(1))).rejects.toThrow(/more than the 10 MB/)
    await expect(readTicket('', Readable.from([]))).rejects.toThrow(/give the path/)
    await expect(readTicket('test', Readable.from([]))).rejects.toThrow(/is a directory/)
    await expect(readTicket('no-such-file', Readable.from([]))).rejects.toThrow(/no such file/)
    await expect(readTicket('package.json/x', Readable.from([]))).rejects.toThrow(/cannot be read: ENOTDIR/)
  })
})

describe('choice', () => {
  const samples = [{ id: 'a', title: 'A', text: 'first' }]
  const choose = async (answer: (options: { value: unknown }[]) => unknown, typed?: unknown): Promise<unknown> => {
    prompts.select.mockImplementation(({ options }: { options: { value: unknown }[] }) => answer(options))
    prompts.text.mockResolvedValue(typed)
    return chooseTicket(samples)
  }

  test('takes the sample, what is typed, or nothing', async () => {
    expect(await choose((options) => options[0]!.value)).toBe('first')
    expect(await choose((options) => options[1]!.value, 'my own')).toBe('my own')
    expect(await choose((options) => options[1]!.value, prompts.cancelled)).toBeUndefined()
    expect(await choose(() => prompts.cancelled)).toBeUndefined()
    const { validate } = prompts.text.mock.calls[0]![0] as { validate: (value?: string) => unknown }
    expect([validate(' '), validate(undefined), validate('x')]).toEqual([
      'Write a few words.',
      'Write a few words.',
      undefined,
    ])
  })
})

describe('interrupts', () => {
  test('the first aborts, the second ends at once, and disposing leaves no listener', () => {
    const listeners = new Set<() => void>()
    const exit = vi.fn()
    const source = {
      on: (_: string, listener: () => void) => listeners.add(listener),
      off: (_: string, listener: () => void) => listeners.delete(listener),
      exit,
    }
    {
      using interrupts = listenForInterrupts(source)
      const [interrupt] = listeners
      interrupt!()
      expect(interrupts.signal.aborted).toBe(true)
      expect(exit).not.toHaveBeenCalled()
      interrupt!()
      expect(exit).toHaveBeenCalledExactlyOnceWith(130)
    }
    expect(listeners.size).toBe(0)
  })
})

describe('screen', () => {
  test('draws at most twenty frames a second, follows the size, and leaves the terminal as it was', async () => {
    const clock = virtualClock({ seed: 3 })
    const resized = new Set<() => void>()
    const written: string[] = []
    const stream = {
      columns: 80,
      rows: 24,
      write: (text: string) => written.push(text) > 0,
      on: (_: string, listener: () => void) => resized.add(listener),
      off: (_: string, listener: () => void) => resized.delete(listener),
    }
    const reporter = liveReporter({
      stream: stream as unknown as Terminal,
      clock,
      look: { color: true, unicode: true },
      topics: new Set(['tool']),
    })
    const { workflow, responder, samples, look } = supportExample()
    await using runtime = await createRuntime({
      clock,
      backends: {
        light: simulated({ model: 'small', engine: 'light', responder }),
        heavy: simulated({ model: 'big', engine: 'heavy', responder }),
      },
    })
    const input = { text: samples[0]!.text }
    const run = runtime.start(workflow, input)
    reporter.begin({
      plan: { workflow: workflow.name, ticket: input.text, stages: planOf(workflow), backends: runtime.backends() },
      showing: showingOf(3, []),
      input,
      workflow,
    })
    let frames = 0
    runtime.subscribe((event) => {
      reporter.event(event)
      if (event.type !== 'stage.mapped' || event.stage !== 'reply') return
      frames = written.length
      stream.columns = 120
      for (const listener of resized) listener()
      expect(written.at(-1)).toContain('state')
    })
    const outcome = await clock.run(run.outcome)
    reporter.end({ outcome, ...look(outcome) })

    expect(frames).toBeGreaterThan(5)
    expect(written.length).toBeLessThanOrEqual((outcome.durationMs / 1000) * 20 + 6)
    expect(written.at(-1)).toContain('critical path')
    expect(written.at(-1)).toContain('What reply was asked')
    expect(resized.size).toBe(0)
    expect(clock.pendingTimers).toBe(0)
    reporter.event({ type: 'events.dropped', atMs: 1, runId: run.id, count: 1 })
    reporter.end({ outcome, ...look(outcome) })
    expect(clock.pendingTimers).toBe(0)
  })
})

describe('program', () => {
  let stdout: string
  let stderr: string
  beforeEach(() => {
    stdout = ''
    stderr = ''
    vi.stubEnv('ORLA_BACKEND', '')
    vi.spyOn(process.stdout, 'write').mockImplementation((text) => (stdout += String(text)) !== '')
    vi.spyOn(process.stderr, 'write').mockImplementation((text) => (stderr += String(text)) !== '')
  })
  afterEach(() => {
    vi.restoreAllMocks()
    vi.unstubAllEnvs()
  })

  test('runs the demonstration in JSON lines and in plain ones', async () => {
    expect(await main(['demo', '--json', '--sample', 'outage', '--seed', '1'])).toBe(0)
    expect(JSON.parse(stdout.trimEnd().split('\n').at(-1)!)).toMatchObject({ type: 'run.completed' })
    stdout = ''
    expect(await main(['demo', '--part', '1', '--stage-policy', 'sjf', '--no-color'])).toBe(0)
    expect(stdout).toContain('What classify answered')
    expect(stderr).toBe('')
  })

  test('ends with the code of what went wrong, and says it on stderr only', async () => {
    expect(await main(['demo', '--json', '--deadline-ms', '1'])).toBe(5)
    stdout = ''
    expect(await main(['demo', '--light-url', 'nonsense'])).toBe(3)
    expect(await main(['demo', '--light-url', 'http://127.0.0.1:9', '--heavy-url', 'http://127.0.0.1:9'])).toBe(4)
    expect(await main(['demo', '--sample', '\u001b[31mx'])).toBe(2)
    expect(await main(['demo', '--ticket', 'no-such-file'])).toBe(2)
    expect(await main(['dmo'])).toBe(2)
    expect(stdout).toBe('')
    expect(stderr).toContain('--light-url: is not a URL')
    expect(stderr).toContain('there is no "x"')
    expect(stderr).not.toContain('\u001b')
  })
})
