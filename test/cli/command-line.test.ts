import { mkdtemp, rm, writeFile, truncate } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { nodeProblem } from '../../src/cli/node-version.ts'
import { orla } from './spawn.ts'

type Json = Record<string, unknown>

describe.concurrent('demo --json', () => {
  test('prints every transition once and the outcome last, and nothing else', async () => {
    const { code, stdout, stderr } = await orla(['demo', '--json', '--seed', '5', '--ticket', '-'], {
      input: 'I was charged $49.99 twice for my Pro plan \u009b31m. Please refund one charge.',
    })
    expect(stderr).toBe('')
    expect(code).toBe(0)
    expect(stdout.endsWith('\n')).toBe(true)
    // Raw control characters never reach whoever prints this.
    expect(stdout.replaceAll('\n', '')).not.toMatch(/\p{Cc}/u)
    const lines = stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Json)
    expect(lines.map(({ seq }) => seq)).toEqual(lines.map((_, index) => index + 1))
    expect(lines[0]).toMatchObject({ type: 'run.started', workflow: 'customer-support', stages: 4 })
    expect(lines.some(({ type }) => type === 'stage.token')).toBe(false)
    expect(lines.filter(({ type }) => type === 'run.completed')).toHaveLength(1)

    const last = lines.at(-1)!
    expect(last).toMatchObject({ type: 'run.completed', from: 'running', to: 'completed', runId: lines[0]!['runId'] })
    expect(last['result']).toMatchObject({ status: 'accepted' })
    expect(last).not.toHaveProperty('error')
    const effects = last['effects'] as { emails: Json[]; tickets: Json[] }
    expect(effects.emails).toHaveLength(1)
    expect(effects.tickets).toHaveLength(1)
    const stages = last['stages'] as Record<string, Json>
    expect(Object.keys(stages)).toEqual(['classify', 'policy_check', 'route_ticket', 'reply'])
    for (const report of Object.values(stages)) {
      expect(Object.keys(report)).toEqual(
        expect.arrayContaining(
          'state backend model turns toolCalls startedAtMs endedAtMs queueWaitMs ttftMs promptTokens cachedTokens completionTokens finishReason'.split(
            ' ',
          ),
        ),
      )
      for (const turn of report['turns'] as Json[]) {
        expect(Object.keys(turn)).toEqual(
          expect.arrayContaining(
            'queueWaitMs ttftMs promptTokens cachedTokens completionTokens finishReason'.split(' '),
          ),
        )
      }
    }
    expect(stages['classify']).toMatchObject({ backend: 'light', model: 'qwen3-4b' })
    expect(stages['policy_check']).toMatchObject({
      backend: 'heavy',
      toolCalls: [{ name: 'read_policy', arguments: { category: 'billing' }, ok: true }],
    })
  })

  test('ends with the reason and exit code 5 when the deadline passes', async () => {
    const { code, stdout } = await orla(['demo', '--json', '--deadline-ms', '150'])
    expect(code).toBe(5)
    const last = JSON.parse(stdout.trimEnd().split('\n').at(-1)!) as Json
    expect(last).toMatchObject({ type: 'run.failed', to: 'cancelled', result: null, error: { code: 'ORLA_DEADLINE' } })
    expect(last['effects']).toEqual({ emails: [], tickets: [] })
  })

  test('runs both ways of part 3, the escalated one second', async () => {
    const { code, stdout } = await orla(['demo', '--json', '--part', '3'])
    expect(code).toBe(0)
    const ends = stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Json)
      .filter(({ type }) => type === 'run.completed')
    expect(ends.map(({ result }) => (result as Json)['status'])).toEqual(['accepted', 'escalated'])
  })
})

describe.concurrent('demo in plain lines', () => {
  test('shows stages, tools and the summary without control characters when nobody watches', async () => {
    const { code, stdout, stderr } = await orla(['demo', '--part', '2'])
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout.replaceAll('\n', '')).not.toMatch(/\p{Cc}/u)
    for (const text of ['Part 2 of 3', 'calls read_policy({"category":"billing"})', 'priority 8', 'critical path']) {
      expect(stdout).toContain(text)
    }
    expect(stdout).not.toContain('mapped to')
  })

  test('is in ASCII where the locale is, and in colours where they are forced', async () => {
    const env = { LC_ALL: 'C', FORCE_COLOR: '1' }
    const { stdout } = await orla(['demo', '--sample', 'german', '--part', '1'], { env })
    expect(stdout).toContain('\u001b[32m')
    // oxlint-disable-next-line no-control-regex -- the range is the point
    expect(stdout.replaceAll(/\u001b\[\d+m/g, '')).toMatch(/^[\x20-\x7e\n]*$/)
  })

  test('an interrupt stops the run, and the summary is still printed', async () => {
    let sent = false
    const { code, stdout } = await orla(['demo'], {
      onStdout(text, kill) {
        if (sent || !text.includes('granted')) return
        sent = true
        kill('SIGINT')
      },
    })
    expect(code).toBe(130)
    expect(stdout).toContain('The run was cancelled')
    expect(stdout).toContain('Stages')
  })

  test('ends quietly when whoever reads it has seen enough', async () => {
    const { spawn } = await import('node:child_process')
    const child = spawn(process.execPath, ['src/cli/main.ts', 'demo', '--json'], { stdio: ['ignore', 'pipe', 'pipe'] })
    let stderr = ''
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text))
    child.stdout.once('data', () => child.stdout.destroy())
    const code = await new Promise((resolve) => child.on('close', resolve))
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  })
})

describe.concurrent('bad input', () => {
  let folder: string
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'orla-cli-'))
    await writeFile(join(folder, 'nul.txt'), 'a\0b')
    await writeFile(join(folder, 'latin1.txt'), Buffer.from([0x66, 0xfc, 0x72]))
    await writeFile(join(folder, 'empty.txt'), ' \n\t ')
    await writeFile(join(folder, 'long.txt'), 'x'.repeat(30_000))
    await writeFile(join(folder, 'big.txt'), 'x')
    await truncate(join(folder, 'big.txt'), 50 * 1024 * 1024)
  })
  afterAll(() => rm(folder, { recursive: true }))

  const cases: [name: string, parameters: string[], code: number, says: RegExp, env?: Record<string, string>][] = [
    ['a ticket that is not there', ['--ticket', '/no/such/file'], 2, /no such file/],
    ['a directory as ticket', ['--ticket', 'FOLDER'], 2, /is a directory/],
    ['NUL bytes', ['--ticket', 'FOLDER/nul.txt'], 2, /not text: it holds NUL/],
    ['invalid UTF-8', ['--ticket', 'FOLDER/latin1.txt'], 2, /not valid UTF-8/],
    ['an empty ticket', ['--ticket', 'FOLDER/empty.txt'], 2, /is empty/],
    ['50 MB', ['--ticket', 'FOLDER/big.txt'], 2, /has 50\.0 MB.* the 10 MB/],
    ['a ticket beyond what the workflow takes', ['--ticket', 'FOLDER/long.txt'], 2, /ORLA_INPUT/],
    ['an unknown option', ['--jsn'], 2, /Did you mean --json\?/],
    ['an unknown sample', ['--sample', 'outtage'], 2, /did you mean "outage"\?.*duplicate-charge/],
    ['an engine that is not known', [], 2, /there is no "vlm".*did you mean "vllm"/s, { ORLA_BACKEND: 'vlm' }],
    ['a server that does not listen', ['--light-url', 'http://127.0.0.1:9'], 4, /127\.0\.0\.1:9.*check that/s],
    ['two bad URLs', ['--light-url', 'ftp://a', '--heavy-url', 'b c'], 3, /--light-url: .*--heavy-url: /s],
  ]
  test.for(cases)('refuses %s', async ([, parameters, code, says, env]) => {
    const given = parameters.map((parameter) => parameter.replace('FOLDER', folder))
    const { stderr, ...ended } = await orla(['demo', '--json', ...given], env === undefined ? {} : { env })
    expect(ended).toEqual({ code, stdout: '' })
    expect(stderr).toMatch(says)
    expect(stderr).not.toMatch(/\bat .*\.ts:\d+/)
  })

  test('refuses standard input without end', async () => {
    const { code, stderr } = await orla(['demo', '--ticket', '-'], { input: Buffer.alloc(11 * 1024 * 1024, 'a') })
    expect(code).toBe(2)
    expect(stderr).toMatch(/standard input has more than the 10 MB/)
  })
})

describe.concurrent('help and version', () => {
  test('help gives examples and loads neither undici nor xstate', async () => {
    const env = { NODE_DEBUG: 'esm' }
    const { code, stdout, stderr } = await orla(['demo', '--help'], { env })
    expect(code).toBe(0)
    expect(stdout).toContain('Examples:')
    expect(stdout).toContain('--stage-policy')
    expect(stderr).not.toMatch(/node_modules\/(undici|xstate|zod)/)
  })

  test('the version is the package’s, and no command at all is a usage error', async () => {
    const [version, none] = await Promise.all([orla(['--version']), orla([])])
    expect(version).toEqual({ code: 0, stdout: expect.stringMatching(/^\d+\.\d+\.\d+\n$/), stderr: '' })
    expect(none.code).toBe(2)
    expect(none.stderr).toContain('Usage: orla')
  })

  test('an old Node is told in one line how to get a new one', () => {
    expect(nodeProblem('24.0.0')).toBeUndefined()
    expect(nodeProblem('26.1.0')).toBeUndefined()
    expect(nodeProblem('22.18.0')).toMatch(/^orla needs Node 24 or later, this is Node 22\.18\.0\..*npm start[^\n]*$/)
  })
})
