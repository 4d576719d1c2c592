// What the builder infers, and what it refuses. Nothing here runs.

import { expectTypeOf, test } from 'vitest'
import { z } from 'zod'
import { tool, workflow, type Run, type Runtime, type ToolDefinition, type Workflow } from '../../src/index.ts'

const Input = z.object({ text: z.string(), count: z.coerce.number() })
const Verdict = z.object({ category: z.enum(['billing', 'other']) })
const text = (): string => 'x'
const base = workflow('w', { input: Input })
  .stage('first', { backend: 'b', output: Verdict, prompt: text })
  .stage('second', { backend: 'b', prompt: text })
  .stage('maybe', { backend: 'b', when: ({ input }) => input.count > 1, output: z.number(), prompt: text })

test('the functions of a stage see the parsed input and the results of declared dependencies', () => {
  base.stage('next', {
    after: ['first', 'second'],
    backend: 'b',
    priority: { stage: ({ results }) => results.second.length, request: 1 },
    prompt: ({ input, results }) => {
      expectTypeOf(input).toEqualTypeOf<{ text: string; count: number }>()
      expectTypeOf(results.first).toEqualTypeOf<{ category: 'billing' | 'other' }>()
      expectTypeOf(results.second).toEqualTypeOf<string>()
      expectTypeOf<keyof typeof results>().toEqualTypeOf<'first' | 'second'>()
      // @ts-expect-error not declared in `after`
      void results.maybe
      // @ts-expect-error results cannot be written
      results.second = 'y'
      return 'x'
    },
  })
  base.stage('alone', {
    backend: 'b',
    prompt: ({ results }) => {
      expectTypeOf<keyof typeof results>().toEqualTypeOf<never>()
      return 'x'
    },
  })
})

test('after takes stages that exist already, and no others', () => {
  // @ts-expect-error there is no such stage
  base.stage('next', { after: ['frist'], backend: 'b', prompt: text })
  // @ts-expect-error a stage cannot wait for itself
  base.stage('next', { after: ['next'], backend: 'b', prompt: text })
  const empty = workflow('w')
  // @ts-expect-error the stage comes later
  empty.stage('a', { after: ['b'], backend: 'b', prompt: text })
})

test('a name is given once', () => {
  // @ts-expect-error the name is taken
  base.stage('first', { backend: 'b', prompt: text })
})

test('what may be skipped may be undefined, except where it is all that is waited for', () => {
  base.stage('both', {
    after: ['first', 'maybe'],
    backend: 'b',
    prompt: ({ results }) => {
      expectTypeOf(results.maybe).toEqualTypeOf<number | undefined>()
      expectTypeOf(results.first).toEqualTypeOf<{ category: 'billing' | 'other' }>()
      return 'x'
    },
  })
  const chained = base.stage('follows', {
    after: ['maybe'],
    backend: 'b',
    prompt: ({ results }) => {
      expectTypeOf(results.maybe).toEqualTypeOf<number>()
      return 'x'
    },
  })
  // Skipped with the only stage it waits for.
  chained.stage('end', {
    after: ['first', 'follows'],
    backend: 'b',
    prompt: ({ results }) => {
      expectTypeOf(results.follows).toEqualTypeOf<string | undefined>()
      return 'x'
    },
  })
  // One that cannot be skipped is enough.
  base.stage('mixed', { after: ['first', 'maybe'], backend: 'b', prompt: text }).stage('end', {
    after: ['mixed', 'maybe'],
    backend: 'b',
    prompt: ({ results }) => {
      expectTypeOf(results.mixed).toEqualTypeOf<string>()
      return 'x'
    },
  })
})

test('a workflow takes its input as written and gives the results of all stages, or what output makes', () => {
  expectTypeOf(base).toExtend<
    Workflow<
      { text: string; count: unknown },
      { readonly first: { category: 'billing' | 'other' }; readonly second: string; readonly maybe: number | undefined }
    >
  >()
  const finished = base.output(({ input, results }) => {
    expectTypeOf(results.maybe).toEqualTypeOf<number | undefined>()
    return { n: input.count, of: results.first.category }
  })
  expectTypeOf(finished).toExtend<Workflow<{ text: string; count: unknown }, { n: number; of: 'billing' | 'other' }>>()
  const runtime = undefined as unknown as Runtime
  const run = runtime.start(finished, { text: 'x', count: '5' })
  expectTypeOf(run).toEqualTypeOf<Run<{ n: number; of: 'billing' | 'other' }>>()
  expectTypeOf(run.result).resolves.toEqualTypeOf<{ n: number; of: 'billing' | 'other' }>()
  // @ts-expect-error the text is missing
  runtime.start(finished, { count: 1 })
})

test('the arguments of a tool come from its schema', () => {
  const defined = tool({
    description: 'x',
    input: z.object({ id: z.string().transform((id) => id.length), limit: z.number().optional() }),
    run: (args, { signal, callId }) => {
      expectTypeOf(args).toEqualTypeOf<{ id: number; limit?: number | undefined }>()
      expectTypeOf(signal).toEqualTypeOf<AbortSignal>()
      expectTypeOf(callId).toEqualTypeOf<string>()
      return 1
    },
  })
  expectTypeOf(defined).toEqualTypeOf<ToolDefinition<{ id: number; limit?: number | undefined }>>()
  const other = tool({ description: 'y', input: z.object({ other: z.boolean() }), run: () => 2 })
  workflow('w').stage('a', { backend: 'b', tools: { defined, other }, prompt: text })
})

test('a prompt is text or messages, at once', () => {
  // @ts-expect-error a promise is no prompt
  workflow('w').stage('a', { backend: 'b', prompt: () => Promise.resolve('x') })
  // @ts-expect-error a condition is no promise
  workflow('w').stage('a', { backend: 'b', prompt: text, when: () => Promise.resolve(true) })
  // @ts-expect-error unknown option
  workflow('w').stage('a', { backend: 'b', prompt: text, temprature: 1 })
})

test('a mapper sees the types of its stage', () => {
  base.stage('mapped', {
    after: ['first'],
    prompt: text,
    mapping: ({ input, results, backends }) => {
      expectTypeOf(input.count).toEqualTypeOf<number>()
      expectTypeOf(results.first.category).toEqualTypeOf<'billing' | 'other'>()
      return { backend: backends[0]!.name, reason: 'first' }
    },
  })
})
