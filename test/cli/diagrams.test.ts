import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { setup } from 'xstate'
import { backendMachine, stageMachine, workflowMachine } from '../../src/index.ts'
import { pictures, withDiagrams } from '../../docs/pictures.ts'
import type { Diagram } from '../../src/cli/diagram/diagram.ts'
import { machineDiagram, type DrawnMachine } from '../../src/cli/diagram/machine-diagram.ts'
import { mermaid } from '../../src/cli/diagram/mermaid.ts'
import { svg } from '../../src/cli/diagram/svg.ts'
import { drawing, visualize } from '../../src/cli/visualize.ts'

const edges = ({ edges: all }: Diagram): string[] => all.map(({ from, to, label }) => `${from} -${label}-> ${to}`)

describe('machine diagram', () => {
  test('has every state and every transition of the machine', () => {
    for (const machine of [workflowMachine, stageMachine, backendMachine]) {
      const diagram = machineDiagram(machine)
      const states = Object.keys(machine.config.states ?? {})
      expect(diagram.nodes.filter(({ kind }) => kind !== 'any').map(({ id }) => id)).toEqual(states)
      expect(diagram.nodes.filter(({ kind }) => kind === 'initial')).toHaveLength(1)
      const transitions = Object.values(machine.root.states).flatMap((state) => [...state.transitions.values()].flat())
      const fromStates = diagram.edges.filter(({ from }) => from !== 'any')
      expect(fromStates).toHaveLength(transitions.length)
    }
  })

  test('shows guards, delays, self transitions, and what any state hears', () => {
    expect(edges(machineDiagram(backendMachine))).toEqual(
      expect.arrayContaining([
        'healthy -request.failed [isLastFailure]-> open',
        'healthy -request.failed-> healthy',
        'healthy -request.succeeded [context.failures > 0]-> healthy',
        'open -after openMs-> halfOpen',
        'halfOpen -probe.inconclusive-> halfOpen',
        'any -backend.drain-> draining',
      ]),
    )
  })

  test('follows nested states, transitions without event, and guards of any form', () => {
    const machine = setup({ guards: { ready: () => true } }).createMachine({
      id: 'nested',
      initial: 'outer',
      states: {
        outer: {
          initial: 'inner',
          states: { inner: { always: { guard: { type: 'ready' }, target: 'other' } }, other: {} },
          on: {
            leave: [
              {
                guard: () => {
                  return true
                },
                target: 'end',
              },
            ],
          },
        },
        end: { type: 'final' },
      },
    })
    const diagram = machineDiagram(machine as unknown as DrawnMachine)
    expect(diagram.nodes.map(({ label, kind }) => `${label} ${kind}`)).toEqual([
      'outer initial',
      'outer.inner normal',
      'outer.other normal',
      'end final',
    ])
    expect(edges(diagram)).toEqual([
      'outer -initial-> outer_inner',
      'outer -leave [guarded]-> end',
      'outer_inner -always [ready]-> outer_other',
    ])
  })
})

describe('formats', () => {
  const hostile: Diagram = {
    title: 'a <b> & "c"',
    kind: 'machine',
    nodes: [
      { id: 'x:1', label: '<script>', notes: ['note; with: signs #1\u0007'], kind: 'initial' },
      { id: 'end', label: 'end', notes: [], kind: 'final' },
    ],
    edges: [
      { from: 'x:1', to: 'end', label: 'go "now"' },
      { from: 'x:1', to: 'end', label: '' },
      { from: 'x:1', to: 'x:1', label: 'again & again' },
    ],
  }

  test('Mermaid text is escaped, and ids are none of its words', () => {
    expect(mermaid(hostile)).toBe(
      [
        'stateDiagram-v2',
        '  %% a <b> & "c"',
        '  state "#60;script#62;" as s0',
        '  state "end" as s_end',
        '  [*] --> s0',
        '  s0 --> s_end : go #34;now#34;',
        '  s0 --> s0 : again & again',
        '  s_end --> [*]',
        '  note right of s0 : note#59; with#58; signs #35;1',
        '',
      ].join('\n'),
    )
    expect(mermaid({ ...hostile, kind: 'workflow' })).toContain(
      's0["<b>#60;script#62;</b><br/>note; with: signs #35;1"]',
    )
  })

  test('SVG text is escaped, and the same diagram gives the same bytes', () => {
    const picture = svg(hostile)
    expect(picture).toBe(svg(hostile))
    expect(picture).not.toContain('<script>')
    expect(picture).toContain('&#60;script&#62;')
    expect(picture).toContain('↻ again &#38; again')
    expect(picture).not.toMatch(/NaN|undefined|https?:\/\/(?!www\.w3\.org)/)
  })

  test('every name is drawn in every format', () => {
    for (const format of ['mermaid', 'svg', 'json']) {
      for (const machine of ['workflow', 'stage', 'backend']) expect(drawing({ machine, format })).not.toBe('')
      expect(drawing({ workflow: 'support', format })).toContain('policy_check')
    }
    const json = JSON.parse(drawing({ workflow: 'support', format: 'json' })) as Diagram
    expect(edges(json)).toContain('policy_check --> reply')
    expect(json.nodes.find(({ id }) => id === 'policy_check')?.notes).toEqual(['backend: heavy', 'tools: read_policy'])
  })

  test('unknown names are refused with the list', () => {
    expect(() => drawing({})).toThrow(/--machine workflow\|stage\|backend, or --workflow support/)
    expect(() => drawing({ machine: 'stage', workflow: 'support' })).toThrow(/say what to draw/)
    expect(() => drawing({ machine: 'stages' })).toThrow(/did you mean "stage".*workflow, stage, backend/)
    expect(() => drawing({ workflow: 'x' })).toThrow(/there are: support/)
    expect(() => drawing({ machine: 'stage', format: 'png' })).toThrow(/there are: mermaid, svg, json/)
  })
})

describe('files', () => {
  let folder: string
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'orla-docs-'))
  })
  afterAll(() => rm(folder, { recursive: true }))

  const make = (...parameters: string[]): Promise<{ code: number; stderr: string }> => {
    const script = fileURLToPath(new URL('../../docs/make.ts', import.meta.url))
    return new Promise((resolve) => {
      execFile(process.execPath, [script, ...parameters, folder], (error, _, stderr) =>
        resolve({ code: error === null ? 0 : Number(error.code), stderr }),
      )
    })
  }

  test('visualize writes to standard output or to a file, and says why it cannot', async () => {
    const out = join(folder, 'stage.mmd')
    await visualize({ machine: 'stage', out })
    expect(await readFile(out, 'utf8')).toBe(drawing({ machine: 'stage' }))
    await expect(visualize({ machine: 'stage', out: join(folder, 'no', 'such') })).rejects.toThrow(/cannot be written/)
    const write = vi.spyOn(process.stdout, 'write').mockReturnValue(true)
    await visualize({ workflow: 'support' })
    expect(write).toHaveBeenCalledWith(drawing({ workflow: 'support' }))
    write.mockRestore()
  })

  test('pictures are the same bytes each time, the run included', async () => {
    const [first, second] = await Promise.all([pictures(), pictures()])
    expect(second).toEqual(first)
    expect([...first.keys()]).toEqual([
      'demo.svg',
      'machine-workflow.svg',
      'machine-stage.svg',
      'machine-backend.svg',
      'support-dag.svg',
    ])
    expect(first.get('demo.svg')).toContain('calls read_policy')
  })

  test('the check names every file that is not current, and passes once they are made', async () => {
    await writeFile(
      join(folder, 'ARCHITECTURE.md'),
      '# A\n<!-- machine:stage -->\nOUTDATED\n<!-- /machine:stage -->\nB\n',
    )
    const before = await make('--check')
    expect(before.code).toBe(1)
    for (const name of ['docs/demo.svg', 'docs/machine-stage.svg', 'ARCHITECTURE.md']) {
      expect(before.stderr).toContain(`${name} is not current`)
    }
    expect((await make()).code).toBe(0)
    expect(await make('--check')).toEqual({ code: 0, stderr: '' })
    const text = await readFile(join(folder, 'ARCHITECTURE.md'), 'utf8')
    expect(text).toContain('```mermaid\nstateDiagram-v2')
    expect(text).not.toContain('OUTDATED')
    expect(text.endsWith('<!-- /machine:stage -->\nB\n')).toBe(true)
    await writeFile(join(folder, 'docs', 'demo.svg'), 'x')
    expect(await make('--check')).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/^docs\/demo\.svg is not current\n/),
    })
  })

  test('a marker without its end is an error', () => {
    expect(() => withDiagrams('<!-- machine:stage -->')).toThrow(/has no "<!-- \/machine:stage -->"/)
    expect(withDiagrams('no markers')).toBe('no markers')
  })
})
