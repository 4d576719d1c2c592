// Results of MCP tools, as text for the model.
//
// A server's words are data: they go into tool messages and nowhere else. What is not text is described, never inlined:
// a base64 image would fill the context with noise.

import { isDeepStrictEqual } from 'node:util'
import { z } from 'zod'
import { parseJson } from '../schema/json.ts'

/** The answer to `tools/call`. Content of a kind that this version does not know passes, and is described. */
export const CallResult = z.looseObject({
  content: z.array(z.looseObject({ type: z.string() })).default([]),
  structuredContent: z.unknown().optional(),
  isError: z.boolean().optional(),
})
/** The answer to `tools/call`. */
export type CallResult = z.output<typeof CallResult>

type Block = CallResult['content'][number]

/**
 * A result as text of at most about `charsMax` characters.
 *
 * Structured content is given as JSON; text that only repeats it (servers send both, for older clients) is left out.
 */
export function resultText(result: CallResult, charsMax: number): string {
  const { structuredContent } = result
  const parts = result.content
    .filter((block) => structuredContent === undefined || !repeats(block, structuredContent))
    .map(blockText)
  if (structuredContent !== undefined) parts.push(JSON.stringify(structuredContent))
  const text = parts.join('\n')
  return text === '' ? 'done' : cut(text, charsMax, 'the result')
}

/** `text`, or its beginning and a remark when it has more than `charsMax` characters. */
export function cut(text: string, charsMax: number, what: string): string {
  return text.length <= charsMax ? text : `${text.slice(0, charsMax)}\n[cut: ${what} has ${text.length} characters]`
}

function repeats(block: Block, structured: unknown): boolean {
  if (block.type !== 'text' || typeof block['text'] !== 'string') return false
  const parsed = parseJson(block['text'])
  return parsed.ok && isDeepStrictEqual(parsed.value, structured)
}

function blockText(block: Block): string {
  switch (block.type) {
    case 'text':
      return stringOf(block['text'])
    case 'image':
    case 'audio':
      return `[${block.type}, ${stringOf(block['mimeType'], 'unknown type')}, ${bytesOf(block['data'])}: not shown]`
    case 'resource':
      return resourceText(block['resource'])
    case 'resource_link':
      return `[link to ${stringOf(block['name'], 'a resource')}: ${stringOf(block['uri'], 'no address')}]`
    default:
      return `[content of type ${JSON.stringify(block.type.slice(0, 100))}: not shown]`
  }
}

function resourceText(resource: unknown): string {
  const fields = (typeof resource === 'object' ? resource : null) as Record<string, unknown> | null
  const name = `${stringOf(fields?.['uri'], 'no address')}, ${stringOf(fields?.['mimeType'], 'unknown type')}`
  return typeof fields?.['text'] === 'string'
    ? `[resource ${name}]\n${fields['text']}`
    : `[resource ${name}, ${bytesOf(fields?.['blob'])}: not shown]`
}

function stringOf(value: unknown, otherwise = ''): string {
  return typeof value === 'string' ? value : otherwise
}

function bytesOf(base64: unknown): string {
  return typeof base64 === 'string' ? `${Buffer.byteLength(base64, 'base64')} bytes` : 'unknown size'
}
