import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test, vi } from 'vitest'
import { replayCommand, type ReplayFlags } from '../../src/cli/testbed/replay.ts'
import { simCommand } from '../../src/cli/testbed/sim.ts'
import { orla } from '../cli/spawn.ts'

const folder = mkdtempSync(join(tmpdir(), 'orla-command-'))
const file = (name: string, content: string): string => {
  const path = join(folder, name)
  writeFileSync(path, content)
  return path
}
const table = 'session,turn,in_tokens,out_tokens,reused_prefix_tokens'

describe('orla replay', () => {
  test('prints the summary as the last line, and records what can be replayed', async () => {
    const path = join(folder, 'recorded.jsonl')
    const parameters = ['--concurrency', '3', '--max-turns', '5', '--seed', '4', '--json']
    const first = await orla(['replay', '--preset', 'swe-agent', '--sessions', '6', ...parameters, '--record', path])
    expect(first).toMatchObject({ code: 0, stderr: '' })
    const summary = JSON.parse(first.stdout.trim().split('\n').at(-1)!) as Record<string, unknown>
    expect(summary).toMatchObject({ type: 'replay.summary', runs: 6, failed: 0, seed: 4, contextScale: 1 })
    const again = await orla(['replay', path, ...parameters])
    const second = JSON.parse(again.stdout) as Record<string, unknown>
    const clock = { wallSeconds: 0, turnsPerWallSecond: 0 }
    expect({ ...second, ...clock }).toEqual({ ...summary, ...clock })
  }, 20_000)

  test('refuses a file that it cannot understand with exit code 3, and says where', async () => {
    const { code, stdout, stderr } = await orla(['replay', file('bad.csv', `${table}\ns,0,-1,5,0`), '--json'])
    expect([code, stdout]).toEqual([3, ''])
    expect(stderr).toMatch(/bad\.csv:2:in_tokens: is "-1"; it must be at least 0/)
  }, 20_000)

  test('refuses a command line that it does not understand with exit code 2', async () => {
    const { code, stdout, stderr } = await orla(['replay', '--preset', 'chatt'])
    expect([code, stdout]).toEqual([2, ''])
    expect(stderr).toMatch(/did you mean "chat".*there are: support-ticket/)
  }, 20_000)

  test('prints a table for people, and why runs failed', async () => {
    const said: string[] = []
    vi.spyOn(console, 'log').mockImplementation((text: string) => void said.push(text))
    vi.spyOn(process.stderr, 'write').mockImplementation((text) => said.push(String(text)) > 0)
    const path = file('small.csv', `${table}\ns,0,100,5,0\ns,1,400000,5,90`)
    expect(await replayCommand(path, { model: 'qwen3-coder-30b', contextScale: '1', maxWait: '3' })).toBe(0)
    expect(said.join('')).toMatch(/^small: sessions of a coding agent/)
    expect(said.join('')).toMatch(/runs +1: 0 completed, 1 truncated, 0 failed/)
    said.length = 0
    const dags = { preset: 'dag-math', sessions: '1', dagContext: 'parents', contextScale: '0.5', seed: '2' }
    expect(await replayCommand(undefined, dags)).toBe(0)
    expect(said.join('')).toMatch(/seed 2, context scale 0\.5; took/)
    vi.restoreAllMocks()
  })

  test.each<[string | undefined, ReplayFlags, RegExp]>([
    [undefined, {}, /name a workload file, or a preset.*support-ticket/],
    ['x.csv', { preset: 'chat' }, /name a workload file, or a preset/],
    [join(folder, 'none.csv'), {}, /there is no such file/],
    [folder, {}, /is a directory/],
    [undefined, { preset: 'chat', gpu: 'h300' }, /--gpu: there is no "h300".*h100/],
    [undefined, { preset: 'chat', model: 'gpt' }, /--model: there is no "gpt".*qwen3-8b/],
    [undefined, { preset: 'chat', stagePolicy: 'luck' }, /there are: fcfs, priority/],
    [undefined, { preset: 'chat', rate: '-1' }, /--rate/],
    [undefined, { preset: 'chat', rate: '1', concurrency: '1' }, /exclude each other/],
    [undefined, { preset: 'chat', burstiness: '1' }, /needs --rate/],
    [undefined, { preset: 'chat', seed: '1.5' }, /--seed "1.5": a whole number/],
    [undefined, { preset: 'chat', contextScale: '0' }, /--context-scale "0": a number above 0/],
    [undefined, { preset: 'chat', record: join(folder, 'none', 'x') }, /cannot be written/],
    [undefined, { preset: 'chat', record: folder }, /is a directory/],
  ])('refuses %j with %j', async (path, flags, message) => {
    await expect(replayCommand(path, flags)).rejects.toMatchObject({ exitCode: 2 })
    await expect(replayCommand(path, flags)).rejects.toThrow(message)
  })
})

describe('orla sim', () => {
  test('serves until it is interrupted', async () => {
    let stopping: Promise<void> | undefined
    const { code, stdout } = await orla(['sim', '--port', '0', '--speed', '100'], {
      onStdout(text, kill) {
        const url = /^(\S+)\/v1 serves qwen3-8b/.exec(text)?.[1]
        if (url === undefined) return
        stopping ??= fetch(`${url}/v1/models`).then(async (reply) => {
          expect(await reply.json()).toMatchObject({ data: [{ id: 'qwen3-8b' }] })
          kill('SIGINT')
        })
      },
    })
    await stopping
    expect(code).toBe(0)
    expect(stdout).toMatch(/0 prompt tokens .* busy 0 ms of the engine's time/)
  }, 20_000)

  test('refuses what it does not know', async () => {
    await expect(simCommand({ port: '99999' })).rejects.toThrow(/--port/)
    await expect(simCommand({ model: 'gpt' })).rejects.toThrow(/there are: qwen3-4b/)
  })
})

describe('orla sim-test', () => {
  test('says how many seeds it played, what struck, and how to compare the trace', async () => {
    const { code, stdout, stderr } = await orla(['sim-test', '--seeds', '5', '--seed', '3'])
    expect([code, stderr]).toEqual([0, ''])
    expect(stdout).toMatch(/^5 seeds from 3: no failure\n/)
    expect(stdout).toMatch(/runs {4}\d+ completed, \d+ failed, \d+ cancelled/)
    expect(stdout).toMatch(/trace {3}[0-9a-f]{16} /)
  })

  test('without faults is calm', async () => {
    const { stdout } = await orla(['sim-test', '--seeds', '2', '--faults', 'none', '--json'])
    expect(JSON.parse(stdout)).toMatchObject({ type: 'simTest.report', seeds: 2, failures: [], struck: {} })
  })

  test.each([
    [['--faults', 'refuse,sulk'], /there is no "sulk"; there are: refuse, cut/],
    [['--seeds', '0'], /--seeds "0": a whole number of at least 1/],
    [['--seed', '-1'], /--seed/],
  ])('refuses %j with exit code 2', async (parameters, message) => {
    const { code, stdout, stderr } = await orla(['sim-test', ...parameters])
    expect([code, stdout]).toEqual([2, ''])
    expect(stderr).toMatch(message)
  })
})

describe('orla demo --memory-policy', () => {
  test('shows what became of the caches, and why', async () => {
    const { stdout } = await orla(['demo', '--memory-policy', 'paper', '--seed', '1', '--sample', 'duplicate-charge'])
    expect(stdout).toMatch(/cache released at light, \d+ tokens: the run went on from .*the cache is emptied \[paper\]/)
    expect(stdout).toMatch(/cache flushed at light/)
    expect(stdout).toMatch(/cache kept at heavy/)
    expect(stdout).toMatch(/cache released at heavy, \d+ tokens: the run is over/)
  }, 30_000)
})
