// What is offered of a server: options, names, schemas, results.

import { readdirSync, readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { OptionsError } from '../../src/errors.ts'
import { limits } from '../../src/limits.ts'
import { childEnvironment } from '../../src/mcp/link.ts'
import { mcpTools } from '../../src/mcp/mcp-tools.ts'
import { labelOf, parseMcpOptions } from '../../src/mcp/mcp-options.ts'
import { catalogOf } from '../../src/mcp/tool-catalog.ts'
import { CallResult, resultText } from '../../src/mcp/tool-result.ts'
import { schemaProblem, toolInputSchema } from '../../src/mcp/tool-schema.ts'
import { mergeTools, pick } from '../../src/mcp/tool-set.ts'
import { check, jsonSchemaOf } from '../../src/schema/standard.ts'
import type { ToolDefinition } from '../../src/workflow/tool.ts'

const anything = { type: 'object' }
const plain = { prefix: '', rename: {}, allow: undefined }

/** The codes and paths of what `action` complains of. */
function issuesOf(action: () => unknown): string[] {
  try {
    action()
  } catch (error) {
    if (error instanceof OptionsError) return error.issues.map(({ path, code }) => `${path} ${code}`)
    throw error
  }
  throw new Error('nothing was wrong')
}

describe('options', () => {
  test('are refused with every problem at once', async () => {
    const server = { command: '', args: [1], env: { 'A=B': 'x' }, shell: true }
    const options = { timeoutMs: 0, resultCharsMax: limits.toolResultCharsMax + 1, allow: 'echo', colour: 'red' }
    const paths = issuesOf(() => parseMcpOptions(server, options)).map((issue) => issue.split(' ')[0])
    expect(paths).toEqual([
      'server.command',
      'server.args[0]',
      'server.env.A=B',
      'server',
      'options.allow',
      'options.timeoutMs',
      'options.resultCharsMax',
      'options',
    ])
    await expect(mcpTools({ command: '' })).rejects.toMatchObject({ code: 'ORLA_OPTIONS' })
    expect(() => parseMcpOptions(undefined, {})).toThrow(/server/)
  })

  test('take a URL of HTTP only, without credentials in it, and headers that HTTP allows', () => {
    for (const url of ['not a url', 'ftp://host/', 'http://user:pass@host/', 7]) {
      expect(issuesOf(() => parseMcpOptions({ url }, {}))[0]).toMatch(/^server\.url /)
    }
    expect(issuesOf(() => parseMcpOptions({ url: 'http://h/', headers: { 'a b': 'c' } }, {}))).toEqual([
      'server.headers custom',
    ])
    const { server } = parseMcpOptions({ url: new URL('https://host/mcp?key=secret'), headers: { a: 'b' } }, {})
    expect(labelOf(server)).toBe('https://host/mcp')
  })

  test('let a child inherit PATH and HOME only', () => {
    const inherited = { HOME: '/h', PATH: '/p', USER: 'u', SHELL: 's', LOGNAME: 'l', TERM: 't' }
    const env = childEnvironment(inherited, { TERM: 'dumb', KEY: 'k' })
    expect({ ...inherited, ...env }).toEqual({
      HOME: '/h',
      PATH: '/p',
      USER: undefined,
      SHELL: undefined,
      LOGNAME: undefined,
      TERM: 'dumb',
      KEY: 'k',
    })
  })
})

describe('the catalog', () => {
  const listed = [
    { name: 'read', description: 'Reads.', inputSchema: anything },
    { name: 'write', title: 'Writer', inputSchema: anything },
    { name: 'slow', inputSchema: anything, execution: { taskSupport: 'required' } },
    { name: 'odd', inputSchema: { type: 'string' } },
    { inputSchema: anything },
  ]

  test('offers what can be offered, and says why the rest is not', () => {
    const { offered, skipped } = catalogOf('s', listed, plain)
    expect(offered.map(({ name, description }) => [name, description])).toEqual([
      ['read', 'Reads.'],
      ['write', 'Writer'],
    ])
    expect(skipped).toEqual([
      { name: 'slow', reason: 'it only runs as a task, which is not supported' },
      { name: 'odd', reason: 'its input schema does not describe an object' },
      { name: '(unnamed)', reason: 'the server describes it in a form that is not MCP' },
    ])
  })

  test('offers what `allow` lists, and complains when it cannot', () => {
    expect(catalogOf('s', listed, { ...plain, allow: ['write'] }).offered.map(({ name }) => name)).toEqual(['write'])
    expect(
      issuesOf(() => catalogOf('s', listed, { ...plain, allow: ['slow', 'gone'], rename: { lost: 'x' } })),
    ).toEqual(['tools.slow unusable_tool', 'options.allow unknown_tool', 'options.rename unknown_tool'])
  })

  test('names tools with prefix or rename, and lets none clash', () => {
    const two = listed.slice(0, 2)
    const names = (settings: object): string[] =>
      catalogOf('s', two, { ...plain, ...settings }).offered.map(({ name, serverName }) => `${name}=${serverName}`)
    expect(names({ prefix: 'fs_', rename: { write: 'save' } })).toEqual(['fs_read=read', 'save=write'])
    expect(issuesOf(() => names({ rename: { write: 'read' } }))).toEqual(['tools.write name_clash'])
    expect(issuesOf(() => names({ prefix: 'a.b/' }))).toEqual(['tools.read name_invalid', 'tools.write name_invalid'])
    expect(issuesOf(() => names({ rename: { read: '__proto__' } }))).toEqual(['tools.read name_invalid'])
    expect(issuesOf(() => names({ prefix: 'x'.repeat(64) })).length).toBe(2)
  })

  test('cuts a description that would fill the prompt', () => {
    const long = { name: 'a', description: 'd'.repeat(10_000), inputSchema: anything }
    const { description } = catalogOf('s', [long], plain).offered[0]!
    expect(description).toBe(
      `${'d'.repeat(limits.mcpDescriptionCharsMax)}\n[cut: the description has 10000 characters]`,
    )
  })
})

describe('an input schema', () => {
  const accepts = (schema: Record<string, unknown>, value: unknown): boolean => {
    const checked = check(toolInputSchema(schema), value, 'arguments')
    if (checked instanceof Promise) throw new Error('schemas of tools are checked at once')
    return checked.ok
  }
  const withMember = (schema: object): Record<string, unknown> => ({ type: 'object', properties: { a: schema } })

  test('is shown to the model as it is', () => {
    const schema = withMember({ type: 'string', pattern: '^(a+)+$', format: 'uri', default: 'x' })
    expect(jsonSchemaOf(toolInputSchema(schema))).toEqual(schema)
  })

  test('checks types, members, choices and references', () => {
    expect(accepts({ ...withMember({ type: 'string' }), required: ['a'] }, {})).toBe(false)
    expect(accepts(withMember({ type: 'string' }), { a: 1 })).toBe(false)
    expect(accepts(withMember({ enum: ['x', 'y'] }), { a: 'z' })).toBe(false)
    expect(accepts(withMember({ type: 'array', items: { type: 'integer' } }), { a: [1.5] })).toBe(false)
    expect(accepts({ ...withMember({ $ref: '#/$defs/n' }), $defs: { n: { type: 'number' } } }, { a: 'x' })).toBe(false)
    expect(accepts({ type: 'object', additionalProperties: false }, { a: 1 })).toBe(false)
    expect(accepts(withMember({ anyOf: [{ type: 'string' }, { type: 'null' }] }), { a: 1 })).toBe(false)
    expect(accepts(withMember({ anyOf: [{ type: 'string' }, { type: 'null' }] }), { a: null })).toBe(true)
  })

  test('leaves to the server what is not safe or not certain here, and is never stricter than it', () => {
    // Would run for hours.
    expect(accepts(withMember({ type: 'string', pattern: '^(a+)+$' }), { a: `${'a'.repeat(50)}!` })).toBe(true)
    expect(accepts(withMember({ type: 'string', format: 'email' }), { a: 'x' })).toBe(true)
    expect(accepts(withMember({ type: 'string', maxLength: 2 }), { a: '\u{1F600}\u{1F600}' })).toBe(true)
    expect(accepts({ type: 'object', patternProperties: { '^x': {} }, additionalProperties: false }, { x1: 1 })).toBe(
      true,
    )
    const oneOf = [
      { type: 'string', pattern: '^a' },
      { type: 'string', pattern: '^b' },
    ]
    expect(accepts(withMember({ oneOf }), { a: 'a' })).toBe(true)
    expect(accepts(withMember({ oneOf, anyOf: [{ type: 'string' }] }), { a: 'a' })).toBe(true)
    expect(accepts(withMember({ oneOf }), { a: 1 })).toBe(false)
  })

  test('hands arguments on unchanged, without filling in defaults', () => {
    const schema = { type: 'object', properties: { a: { type: 'string', default: 'x' } } }
    expect(check(toolInputSchema(schema), { b: 1 }, 'arguments')).toEqual({ ok: true, value: { b: 1 } })
  })

  test('that cannot be turned into a check asks for an object with the required members, and no more', () => {
    const schema = { ...withMember({ $ref: 'https://elsewhere/schema' }), required: ['a'], not: { required: ['b'] } }
    expect(jsonSchemaOf(toolInputSchema(schema))).toEqual(schema)
    expect(accepts(schema, { a: 1, b: 2 })).toBe(true)
    expect(accepts(schema, { b: 2 })).toBe(false)
    expect(accepts(schema, 'text')).toBe(false)
    expect(accepts({ type: 'object', not: { type: 'null' }, required: 'a' }, {})).toBe(true)
  })

  test('takes names that are keywords, or reach into prototypes, for names', () => {
    const properties = JSON.parse(
      '{"pattern":{"type":"number"},"default":{"type":"number"},"__proto__":{"type":"string"}}',
    )
    expect(accepts({ type: 'object', properties }, { pattern: 'x' })).toBe(false)
    expect(accepts({ type: 'object', properties }, { default: 'x' })).toBe(false)
    expect(accepts({ type: 'object', properties }, { pattern: 1 })).toBe(true)
  })

  test('is refused when it is none, too deep or too long', () => {
    let deep: Record<string, unknown> = {}
    for (let i = 0; i < 100; i++) deep = { items: deep }
    expect(schemaProblem(undefined)).toMatch(/not an object/)
    expect(schemaProblem([])).toMatch(/not an object/)
    expect(schemaProblem({ ...anything, ...deep })).toMatch(/nests deeper than 64/)
    expect(schemaProblem({ ...anything, description: 'x'.repeat(70_000) })).toMatch(/has 700\d\d characters/)
    expect(schemaProblem(anything)).toBeUndefined()
  })
})

describe('a result', () => {
  const textOf = (result: object): string => resultText(CallResult.parse(result), 1_000)

  test('is its text; nothing is "done"', () => {
    expect(
      textOf({
        content: [
          { type: 'text', text: 'a' },
          { type: 'text', text: 'b' },
        ],
      }),
    ).toBe('a\nb')
    expect(textOf({})).toBe('done')
    expect(textOf({ content: [{ type: 'text' }] })).toBe('done')
  })

  test('describes what is not text', () => {
    const content = [
      { type: 'image', data: 'AAAA', mimeType: 'image/png' },
      { type: 'audio' },
      { type: 'resource', resource: { uri: 'f:1', mimeType: 'text/plain', text: 'inside' } },
      { type: 'resource', resource: { uri: 'f:2', blob: 'AAAAAAAA' } },
      { type: 'resource' },
      { type: 'resource_link', name: 'n', uri: 'f:3' },
      { type: 'hologram', data: 'x' },
    ]
    expect(textOf({ content }).split('\n')).toEqual([
      '[image, image/png, 3 bytes: not shown]',
      '[audio, unknown type, unknown size: not shown]',
      '[resource f:1, text/plain]',
      'inside',
      '[resource f:2, unknown type, 6 bytes: not shown]',
      '[resource no address, unknown type, unknown size: not shown]',
      '[link to n: f:3]',
      '[content of type "hologram": not shown]',
    ])
  })

  test('gives structured content as JSON, and text beside it only if it says something else', () => {
    const structuredContent = { n: 1, list: ['a'] }
    const same = { type: 'text', text: '{ "list": ["a"], "n": 1 }' }
    const other = { type: 'text', text: 'one item' }
    expect(textOf({ content: [same], structuredContent })).toBe('{"n":1,"list":["a"]}')
    expect(textOf({ content: [other, same], structuredContent })).toBe('one item\n{"n":1,"list":["a"]}')
  })

  test('is cut, and says so', () => {
    expect(textOf({ content: [{ type: 'text', text: 'x'.repeat(1_200) }] })).toBe(
      `${'x'.repeat(1_000)}\n[cut: the result has 1200 characters]`,
    )
  })
})

describe('tool sets', () => {
  const definition = { description: '', input: toolInputSchema(anything), run: () => '' } satisfies ToolDefinition
  const set = { a: definition, b: definition }

  test('are picked from, and complain of names that they do not have', () => {
    expect(Object.keys(pick(set, ['b']))).toEqual(['b'])
    expect(issuesOf(() => pick(set, ['c', 'a', 'toString']))).toEqual([
      'names[0] unknown_tool',
      'names[2] unknown_tool',
    ])
  })

  test('are merged, and complain of names that two have', () => {
    expect(Object.keys(mergeTools(set, { c: definition }))).toEqual(['a', 'b', 'c'])
    expect(issuesOf(() => mergeTools(set, { c: definition }, set))).toEqual([
      'sets[2].a name_clash',
      'sets[2].b name_clash',
    ])
  })
})

test('the SDK is loaded when a server is first reached, not with the package', () => {
  const folder = new URL('../../src/mcp/', import.meta.url)
  const texts = readdirSync(folder).map((name) => readFileSync(new URL(name, folder), 'utf8'))
  const imports = texts.flatMap((text) => text.match(/^import .*@modelcontextprotocol.*$/gm) ?? [])
  expect(imports.length).toBeGreaterThan(0)
  expect(imports.filter((line) => !line.startsWith('import type '))).toEqual([])
})
