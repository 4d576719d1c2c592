import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { compilePrompt, type PromptSource } from '../../src/prompts/template.ts'
import { anyText } from './support.ts'

const scope = { path: 'stages.reply.prompt', stages: ['classify', 'policy-check', 'two words'] }

const placeholdersOf = (source: PromptSource) => {
  const compiled = compilePrompt(source, scope)
  if (!compiled.ok) throw new Error(JSON.stringify(compiled.issues))
  return compiled.prompt.messages.flatMap(({ template }) => template.placeholders)
}
const issuesOf = (source: PromptSource) => {
  const compiled = compilePrompt(source, scope)
  return compiled.ok ? [] : compiled.issues
}

describe('compilePrompt', () => {
  test('reads paths with names, indexes and quoted keys', () => {
    const paths = placeholdersOf(
      '{{input}} {{ input.customer.name }} {{ results.policy-check.items[0].id }} {{ results["two words"]["a.b"] }} {{ input.0.größe }}',
    )
    expect(paths.map(({ root, keys }) => [root, ...keys])).toEqual([
      ['input'],
      ['input', 'customer', 'name'],
      ['results', 'policy-check', 'items', '0', 'id'],
      ['results', 'two words', 'a.b'],
      ['input', '0', 'größe'],
    ])
  })

  test('takes one text as one user message, and messages as they are', () => {
    const one = compilePrompt('hello', scope)
    const several = compilePrompt(
      [
        { role: 'system', content: 'be brief' },
        { role: 'user', content: '{{ input }}' },
      ],
      scope,
    )
    expect(one.ok && one.prompt.messages.map(({ role }) => role)).toEqual(['user'])
    expect(several.ok && several.prompt.messages.map(({ role }) => role)).toEqual(['system', 'user'])
    expect(several.ok && several.prompt.messages[1]!.template.path).toBe('stages.reply.prompt[1].content')
  })

  test('lists all problems at once, with their places', () => {
    const issues = issuesOf([
      { role: 'system', content: 'a {{ secrets.key }}\n  b {{ results.unknown.x }} {{ input..x }}' },
      { role: 'user', content: '{{ input.__proto__ }} {{ results }} {{ input["a }} and {{ input.never' },
    ])
    expect(issues.map(({ path, code, message }) => [/\[(\d)\]/.exec(path)?.[1], code, message.split(':')[0]])).toEqual([
      ['0', 'unknown_root', 'line 1, column 3'],
      ['0', 'unknown_stage', 'line 2, column 5'],
      ['0', 'template_syntax', 'line 2, column 29'],
      ['1', 'unsafe_key', 'line 1, column 1'],
      ['1', 'unknown_stage', 'line 1, column 23'],
      ['1', 'template_syntax', 'line 1, column 37'],
      ['1', 'template_unclosed', 'line 1, column 56'],
    ])
    expect(issues[1]!.message).toContain('it declares classify, policy-check, two words')
  })

  test('refuses expressions', () => {
    for (const expression of [
      'input.x()',
      'input + 1',
      '`${x}`',
      'input[x]',
      'input.x ? 1 : 2',
      '',
      '1',
      'input."x"',
      'input["\\q"]',
    ]) {
      expect(issuesOf(`{{ ${expression} }}`), expression).not.toEqual([])
    }
  })

  test('refuses keys that reach a prototype, however they are written', () => {
    for (const path of [
      'input.constructor',
      'input["__proto__"]',
      'results.classify["prot\\u006ftype"]',
      'results["toString"]',
    ]) {
      expect(issuesOf(`{{ ${path} }}`)[0]?.code, path).toBe('unsafe_key')
    }
  })

  test('refuses unknown roles, prompts without messages, and texts and paths beyond their limits', () => {
    const role = 'tool' as 'user'
    expect(issuesOf([{ role, content: '' }])[0]).toMatchObject({
      path: 'stages.reply.prompt[0].role',
      code: 'unknown_role',
    })
    expect(issuesOf([])[0]!.code).toBe('empty_prompt')
    expect(issuesOf(Array.from({ length: 1_001 }, () => ({ role: 'user', content: '' }) as const))[0]!.code).toBe(
      'template_too_long',
    )
    expect(issuesOf('x'.repeat(1024 * 1024 + 1))[0]!.code).toBe('template_too_long')
    expect(issuesOf(`{{ input${'.a'.repeat(70)} }}`)[0]!.message).toContain('at most 64 keys')
    expect(issuesOf('{{ x.a }} '.repeat(2_000))).toHaveLength(1_000)
  })

  test('says what a stage without dependencies may not do', () => {
    const compiled = compilePrompt('{{ results.classify }}', { path: 'p', stages: [] })
    expect(!compiled.ok && compiled.issues[0]!.message).toContain('it declares none')
  })

  test('never throws, and is plain data', () => {
    fc.assert(
      fc.property(
        fc.array(fc.oneof(anyText, fc.constantFrom('{{', '}}', 'input', '.', '["', '"]', '\\', ' ')), {
          maxLength: 12,
        }),
        (parts) => {
          const compiled = compilePrompt(parts.join(''), scope)
          expect(structuredClone(compiled)).toEqual(compiled)
        },
      ),
      { numRuns: 500 },
    )
  })
})
